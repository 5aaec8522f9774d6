// The frame around every page: navigation, time range, refresh, language and theme; and which page an address shows.
import { useEffect, useRef, useState } from "preact/hooks";
import { alerts } from "./api";
import { stamp } from "./format";
import { setLang, t } from "./language";
import { gradeOf, Link } from "./parts";
import { Page } from "./page_switch";
import { LAST } from "./range";
import { remember, remembered } from "./remembered";
import { pathOf, type Route } from "./route";
import { momentOf, REFRESH_S, SharedContext, useAddress, useData, useShared } from "./shell_state";
import type { Lang } from "./words";

type Theme = "auto" | "light" | "dark";
const NEXT_THEME: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const THEME_MARK: Record<Theme, string> = { auto: "◐", light: "☀", dark: "☾" };

const DEFAULT_REFRESH_S = 10;

export function App(props: { lang: Lang }) {
  const [lang, chooseLang] = useState<Lang>(() => {
    const kept = remembered("lang");
    return kept === "en" || kept === "zh" ? kept : props.lang;
  });
  const [theme, chooseTheme] = useState<Theme>(() => {
    const kept = remembered("theme");
    return kept === "light" || kept === "dark" ? kept : "auto";
  });
  const [systemDark, setSystemDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  const [refreshS, chooseRefresh] = useState<number>(() => {
    const kept = Number(remembered("refresh") ?? DEFAULT_REFRESH_S);
    return (REFRESH_S as readonly number[]).includes(kept) ? kept : DEFAULT_REFRESH_S;
  });
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: dark)");
    const changed = () => setSystemDark(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  const dark = theme === "dark" || (theme === "auto" && systemDark);
  setLang(lang);
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
  const shared = useAddress(refreshS);
  const path = pathOf(shared.route);
  const opened = useRef(path);
  useEffect(() => {
    document.title = `${titleOf(shared.route)} · Tidewatch`;
    // A new page is read from its beginning, by eyes and by screen readers.
    if (opened.current !== path) document.getElementById("content")?.focus({ preventScroll: true });
    opened.current = path;
  }, [path, lang]);
  return (
    <SharedContext.Provider value={shared}>
      <div key={`${lang}-${dark}`} class="frame">
        <a class="skip" href="#content">
          {t("skip")}
        </a>
        <Bar
          lang={lang}
          chooseLang={(to) => {
            remember("lang", to);
            chooseLang(to);
          }}
          theme={theme}
          chooseTheme={(to) => {
            remember("theme", to);
            chooseTheme(to);
          }}
          refreshS={refreshS}
          chooseRefresh={(to) => {
            remember("refresh", String(to));
            chooseRefresh(to);
          }}
        />
        <main id="content" tabIndex={-1}>
          <Page />
        </main>
      </div>
    </SharedContext.Provider>
  );
}

/** What a page is called in the browser's tab. */
function titleOf(route: Route): string {
  switch (route.page) {
    case "database":
      return route.instance;
    case "statement":
      return `${t("statement")} ${route.fingerprint}`;
    case "alert":
      return `${t("alert")} ${route.id}`;
    case "unknown":
      return route.path;
    default:
      return t(route.page);
  }
}

interface BarProps {
  lang: Lang;
  chooseLang: (to: Lang) => void;
  theme: Theme;
  chooseTheme: (to: Theme) => void;
  refreshS: number;
  chooseRefresh: (to: number) => void;
}

function Bar(props: BarProps) {
  const { route, range, refresh } = useShared();
  const firing = useData("firing-count", momentOf(range), (signal) => alerts("firing", 500, signal));
  const worst = (["critical", "warning", "notice", "none"] as const).find((g) => (firing.data ?? []).some((a) => gradeOf(a) === g));
  const here = (pages: string[]) => (pages.includes(route.page) ? "page" : undefined);
  return (
    <header class="topbar">
      <Link to={{ page: "overview" }} class="brand" label="Tidewatch 观潮">
        <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
          <path d="M2 12c5 0 5 4 9 4s5-4 10-4 5 4 9 4" />
          <path d="M2 21c5 0 5 4 9 4s5-4 10-4 5 4 9 4" class="second" />
        </svg>
        <span>Tidewatch</span> <span class="zh">观潮</span>
      </Link>
      <nav aria-label="Tidewatch">
        <span aria-current={here(["overview", "database", "statement"])}>
          <Link to={{ page: "overview" }}>{t("overview")}</Link>
        </span>
        <span aria-current={here(["alerts", "alert"])}>
          <Link to={{ page: "alerts" }}>
            {t("alerts")}
            {worst !== undefined && <span class={`count ${worst}`}>{firing.data?.length}</span>}
          </Link>
        </span>
        <span aria-current={here(["silences"])}>
          <Link to={{ page: "silences" }}>{t("silences")}</Link>
        </span>
        <span aria-current={here(["rules"])}>
          <Link to={{ page: "rules" }}>{t("rules")}</Link>
        </span>
        <span aria-current={here(["explore", "forecast"])}>
          <Link to={{ page: "explore" }}>{t("explore")}</Link>
        </span>
        <span aria-current={here(["about"])}>
          <Link to={{ page: "about" }}>{t("about")}</Link>
        </span>
      </nav>
      <div class="tools">
        <RangePicker />
        <label class="select">
          <span class="sr">{t("refresh")}</span>
          <select value={String(props.refreshS)} onChange={(e) => props.chooseRefresh(Number(e.currentTarget.value))} title={t("refresh")}>
            {REFRESH_S.map((s) => (
              <option value={String(s)}>{s === 0 ? t("off") : `${s} s`}</option>
            ))}
          </select>
        </label>
        <button type="button" class="icon" onClick={refresh} title={t("refresh")} aria-label={t("refresh")}>
          ↻
        </button>
        <button type="button" class="icon" onClick={() => props.chooseLang(props.lang === "en" ? "zh" : "en")} title={t("language")} aria-label={t("language")}>
          {props.lang === "en" ? "中" : "EN"}
        </button>
        <button type="button" class="icon" onClick={() => props.chooseTheme(NEXT_THEME[props.theme])} title={`${t("theme")}: ${t(props.theme)}`} aria-label={`${t("theme")}: ${t(props.theme)}`}>
          {THEME_MARK[props.theme]}
        </button>
      </div>
    </header>
  );
}

/** A local time as `<input type="datetime-local">` writes it. */
function localInput(ms: number): string {
  return stamp(ms).replace(" ", "T");
}

function RangePicker() {
  const { choice, range, setChoice } = useShared();
  const [open, setOpen] = useState(false);
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const toggle = () => {
    setFrom(localInput(range.fromMs));
    setTo(localInput(range.toMs));
    setOpen(!open);
  };
  const fromMs = Date.parse(from);
  const toMs = Date.parse(to);
  const good = fromMs > 0 && fromMs < toMs;
  return (
    <div class="range">
      <div class="choices" role="group" aria-label={t("range")}>
        {LAST.map((l) => (
          <button type="button" aria-pressed={choice.kind === "last" && choice.name === l.name} onClick={() => setChoice({ kind: "last", name: l.name })}>
            {l.name}
          </button>
        ))}
        <button type="button" aria-pressed={choice.kind === "fixed"} aria-expanded={open} onClick={toggle} title={choice.kind === "fixed" ? `${stamp(range.fromMs)} – ${stamp(range.toMs)}` : t("custom")}>
          {choice.kind === "fixed" ? `${stamp(range.fromMs).slice(5, 16)} – ${stamp(range.toMs).slice(5, 16)}` : t("custom")}
        </button>
      </div>
      {open && (
        <form
          class="custom"
          onSubmit={(e) => {
            e.preventDefault();
            if (good) {
              setChoice({ kind: "fixed", fromMs, toMs });
              setOpen(false);
            }
          }}
          onKeyDown={(e) => {
            if (e.key === "Escape") setOpen(false);
          }}
        >
          <label>
            {t("from")} <input type="datetime-local" step="1" value={from} onInput={(e) => setFrom(e.currentTarget.value)} />
          </label>
          <label>
            {t("to")} <input type="datetime-local" step="1" value={to} onInput={(e) => setTo(e.currentTarget.value)} />
          </label>
          <button type="submit" class="primary" disabled={!good}>
            {t("go")}
          </button>
        </form>
      )}
    </div>
  );
}
