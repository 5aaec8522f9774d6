// Starts the pages.
import { render } from "preact";
import { App } from "./app";
import { browserLang } from "./language";
import "./style.css";

const root = document.getElementById("app");
if (root !== null) render(<App lang={browserLang(navigator.languages)} />, root);
