// Which page an address shows.
import { t } from "./language";
import { About } from "./pages/about";
import { AlertPage } from "./pages/alert";
import { AlertsPage } from "./pages/alerts";
import { DatabasePage } from "./pages/database";
import { Explore } from "./pages/explore";
import { Overview } from "./pages/overview";
import { ForecastPage } from "./pages/forecast";
import { RulesPage } from "./pages/rules";
import { SilencesPage } from "./pages/silences";
import { StatementPage } from "./pages/statement";
import { Empty } from "./parts";
import { useShared } from "./shell_state";

export function Page() {
  const { route, query } = useShared();
  switch (route.page) {
    case "overview":
      return <Overview />;
    case "database":
      return <DatabasePage key={route.instance} instance={route.instance} />;
    case "statement":
      return <StatementPage key={`${route.instance}|${route.fingerprint}`} instance={route.instance} fingerprint={route.fingerprint} />;
    case "alerts":
      return <AlertsPage />;
    case "alert":
      return <AlertPage key={route.id} id={route.id} />;
    case "explore":
      return <Explore key={query.get("lang") ?? ""} />;
    case "silences":
      return <SilencesPage />;
    case "rules":
      return <RulesPage />;
    case "forecast":
      return <ForecastPage key={query.get("q") ?? ""} />;
    case "about":
      return <About />;
    case "unknown":
      return <Empty>{t("page_unknown", { path: route.path })}</Empty>;
  }
}
