// Addresses of the pages, both ways. The address holds everything that a shared link must show again.
import { pathSegment } from "./escape";

export type Route =
  | { page: "overview" }
  | { page: "database"; instance: string }
  | { page: "statement"; instance: string; fingerprint: string }
  | { page: "alerts" }
  | { page: "alert"; id: string }
  | { page: "silences" }
  | { page: "rules" }
  | { page: "explore" }
  | { page: "forecast" }
  | { page: "about" }
  | { page: "unknown"; path: string };

/** The page of a path. `/graph` is where Prometheus' own links point. */
export function readRoute(path: string): Route {
  let parts: string[];
  try {
    parts = path.split("/").filter((p) => p !== "").map(decodeURIComponent);
  } catch {
    return { page: "unknown", path };
  }
  const [head, a, b] = parts;
  if (head === undefined || head === "index.html") return { page: "overview" };
  if (head === "db" && a !== undefined && parts.length === 2) return { page: "database", instance: a };
  if (head === "statement" && a !== undefined && b !== undefined && parts.length === 3) {
    return { page: "statement", instance: a, fingerprint: b };
  }
  if (head === "alerts" && parts.length === 1) return { page: "alerts" };
  if (head === "alert" && a !== undefined && parts.length === 2) return { page: "alert", id: a };
  if ((head === "explore" || head === "graph") && parts.length === 1) return { page: "explore" };
  if ((head === "silences" || head === "rules" || head === "forecast") && parts.length === 1) return { page: head };
  if (head === "about" && parts.length === 1) return { page: "about" };
  return { page: "unknown", path };
}

/** The path of a page. */
export function pathOf(route: Route): string {
  switch (route.page) {
    case "overview":
      return "/";
    case "database":
      return `/db/${pathSegment(route.instance)}`;
    case "statement":
      return `/statement/${pathSegment(route.instance)}/${pathSegment(route.fingerprint)}`;
    case "alert":
      return `/alert/${pathSegment(route.id)}`;
    case "unknown":
      return route.path;
    default:
      return `/${route.page}`;
  }
}

const SHARED = ["range", "from", "to"];

/** The address of another page that keeps the shared range, with what the page itself wants in its query. */
export function linkTo(route: Route, current: URLSearchParams, extra: Record<string, string> = {}): string {
  const query = new URLSearchParams();
  for (const key of SHARED) {
    const value = current.get(key);
    if (value !== null) query.set(key, value);
  }
  for (const [key, value] of Object.entries(extra)) query.set(key, value);
  const text = query.toString();
  return pathOf(route) + (text === "" ? "" : `?${text}`);
}
