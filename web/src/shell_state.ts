// What all pages share: the address, the time range, the moment "now", theme and refresh, and data that loads by key.
import { createContext } from "preact";
import { useCallback, useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError } from "./api";
import { linkTo, readRoute, type Route } from "./route";
import { readChoice, resolve, stepSeconds, writeChoice, type Choice, type Range } from "./range";

export interface Shared {
  route: Route;
  query: URLSearchParams;
  choice: Choice;
  range: Range;
  /** Step of charts over the range, in seconds. */
  step: number;
  /** The end of the range, or now: what "currently" means on a page. */
  nowMs: number;
  setChoice(choice: Choice): void;
  /** Changes parts of the query; null removes. `replace` leaves no history entry. */
  setQuery(changes: Record<string, string | null>, replace?: boolean): void;
  go(address: string): void;
  link(route: Route, extra?: Record<string, string>): string;
  refresh(): void;
}

export const SharedContext = createContext<Shared | null>(null);

export function useShared(): Shared {
  const shared = useContext(SharedContext);
  if (shared === null) throw new Error("no shared state above this component");
  return shared;
}

/** Refresh choices in seconds; 0 is off. */
export const REFRESH_S = [0, 5, 10, 30, 60] as const;

/** Builds the shared state from the address bar and a refresh interval. */
export function useAddress(refreshS: number): Shared {
  const [address, setAddress] = useState(() => location.pathname + location.search);
  const [nowMs, setNow] = useState(() => Date.now());
  useEffect(() => {
    const changed = () => setAddress(location.pathname + location.search);
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  const refresh = useCallback(() => setNow(Date.now()), []);
  useEffect(() => {
    if (refreshS === 0) return;
    const tick = () => {
      if (document.visibilityState === "visible") refresh();
    };
    const timer = setInterval(tick, refreshS * 1000);
    document.addEventListener("visibilitychange", tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, [refreshS, refresh]);
  return useMemo(() => {
    const [path, search] = address.split("?");
    const query = new URLSearchParams(search ?? "");
    const route = readRoute(path ?? "/");
    const choice = readChoice(query);
    const range = resolve(choice, nowMs);
    const move = (to: string, replace: boolean) => {
      if (to === location.pathname + location.search) return;
      if (replace) history.replaceState(null, "", to);
      else history.pushState(null, "", to);
      setAddress(to);
    };
    const withQuery = (next: URLSearchParams) => (path ?? "/") + (next.size === 0 ? "" : `?${next}`);
    return {
      route,
      query,
      choice,
      range,
      step: stepSeconds(range),
      nowMs: range.toMs,
      setChoice(next) {
        const changed = new URLSearchParams(query);
        writeChoice(changed, next);
        setNow(Date.now());
        move(withQuery(changed), false);
      },
      setQuery(changes, replace = false) {
        const changed = new URLSearchParams(query);
        for (const [key, value] of Object.entries(changes)) {
          if (value === null || value === "") changed.delete(key);
          else changed.set(key, value);
        }
        move(withQuery(changed), replace);
      },
      go(to) {
        const leaves = to.split("?")[0] !== path;
        move(to, false);
        if (leaves) {
          scrollTo(0, 0);
          setNow(Date.now());
        }
      },
      link: (to, extra = {}) => linkTo(to, query, extra),
      refresh,
    };
  }, [address, nowMs, refresh]);
}

export interface Loaded<T> {
  data: T | undefined;
  error: ApiError | undefined;
  loading: boolean;
  retry(): void;
}

let underway = 0;

/** Counts loads; while any is under way the page bears `data-busy`, which draws a thin line below the bar. */
function busy(change: 1 | -1): void {
  underway += change;
  document.documentElement.toggleAttribute("data-busy", underway > 0);
}

/**
 * Loads data: at once when `subject` changes (what was shown is dropped), quietly when only `moment` does
 * (what was shown stays until the new answer is there). A null subject loads nothing.
 */
export function useData<T>(subject: string | null, moment: string | number, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ subject: string | null; data?: T; error?: ApiError; loading: boolean }>({ subject, loading: true });
  const [tries, setTries] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    if (subject === null) return;
    const abort = new AbortController();
    setState((was) => (was.subject === subject ? { ...was, loading: true } : { subject, loading: true }));
    busy(1);
    let ended = false;
    const end = () => {
      if (!ended) busy(-1);
      ended = true;
    };
    latest.current(abort.signal).then(
      (data) => {
        if (!abort.signal.aborted) setState({ subject, data, loading: false });
        end();
      },
      (cause: unknown) => {
        end();
        if (abort.signal.aborted) return;
        const error = cause instanceof ApiError ? cause : new ApiError("internal", String(cause instanceof Error ? cause.message : cause));
        setState((was) => ({ subject, ...(was.subject === subject && was.data !== undefined ? { data: was.data } : {}), error, loading: false }));
      },
    );
    return () => {
      abort.abort();
      end();
    };
  }, [subject, moment, tries]);
  const own = state.subject === subject;
  return {
    data: own ? state.data : undefined,
    error: own ? state.error : undefined,
    loading: subject !== null && (!own || state.loading),
    retry: () => setTries((n) => n + 1),
  };
}

/** The key of a range, for `moment`. */
export function momentOf(range: Range): string {
  return `${range.fromMs}-${range.toMs}`;
}
