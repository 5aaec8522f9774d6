// Starts the pages.
import { render } from "preact";
import { App } from "./app";
import { browserLang } from "./language";
import "./style/base.css";
import "./style/bar.css";
import "./style/controls.css";
import "./style/page.css";
import "./style/tables.css";
import "./style/text.css";
import "./style/charts.css";
import "./style/evidence.css";
import "./style/operate.css";
import "./style/phone.css";

const root = document.getElementById("app");
if (root !== null) render(<App lang={browserLang(navigator.languages)} />, root);
