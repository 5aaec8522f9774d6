// Small pieces that every page is made of: links, states in words, badges, tables, panels.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import type { ApiError } from "./api";
import { gradeOf, type Grade } from "./grade";
import { t } from "./language";
import { useShared, type Loaded } from "./shell_state";
import type { Route } from "./route";
import { tokens } from "./sql_text";

/** A link inside the pages that keeps the shared range. */
export function Link(props: { to: Route; extra?: Record<string, string>; class?: string; title?: string; label?: string; children: ComponentChildren }) {
  const shared = useShared();
  const address = shared.link(props.to, props.extra);
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    shared.go(address);
  };
  return (
    <a href={address} onClick={follow} class={props.class} title={props.title} aria-label={props.label}>
      {props.children}
    </a>
  );
}

/** An error in words, with a way to try again. */
export function Trouble(props: { error: ApiError; retry?: () => void }) {
  const { error } = props;
  const words =
    error.kind === "unreachable"
      ? t("error_unreachable", { message: error.message })
      : error.kind === "bad_answer"
        ? t("error_bad_answer", { message: error.message })
        : error.message;
  return (
    <div class="trouble" role="alert">
      <span>{words}</span>
      {props.retry && (
        <button type="button" class="plain" onClick={props.retry}>
          {t("retry")}
        </button>
      )}
    </div>
  );
}

export function Empty(props: { children: ComponentChildren }) {
  return <p class="empty">{props.children}</p>;
}

/** Loading, error or content; with data an error stands above what is known. */
export function Await<T>(props: { of: Loaded<T>; children: (data: T) => ComponentChildren }) {
  const { data, error, retry } = props.of;
  if (data === undefined) {
    return error ? (
      <Trouble error={error} retry={retry} />
    ) : (
      <p class="empty loading" role="status">
        {t("loading")}
      </p>
    );
  }
  return (
    <>
      {error && <Trouble error={error} retry={retry} />}
      {props.children(data)}
    </>
  );
}

/** A titled block of a page. */
export function Panel(props: { title?: ComponentChildren; aside?: ComponentChildren; class?: string; id?: string; children: ComponentChildren }) {
  return (
    <section class={`panel ${props.class ?? ""}`} id={props.id}>
      {(props.title !== undefined || props.aside !== undefined) && (
        <header>
          {props.title !== undefined && <h2>{props.title}</h2>}
          {props.aside !== undefined && <div class="aside">{props.aside}</div>}
        </header>
      )}
      {props.children}
    </section>
  );
}

export { gradeOf, type Grade };

/** A level as colour, shape and word. */
export function LevelBadge(props: { grade: Grade; quiet?: boolean | undefined }) {
  const marks: Record<Grade, string> = { critical: "▲", warning: "◆", notice: "●", none: "○" };
  const word = props.grade === "none" ? t("alert") : t(props.grade);
  return (
    <span class={`level ${props.grade} ${props.quiet ? "quiet" : ""}`}>
      <span aria-hidden="true">{marks[props.grade]}</span> {word}
    </span>
  );
}

/** Statement text with its words coloured. */
export function Sql(props: { text: string }) {
  return (
    <code class="sql">
      {tokens(props.text).map((token) =>
        token.kind === "space" || token.kind === "symbol" || token.kind === "name" ? token.text : <span class={`t-${token.kind}`}>{token.text}</span>,
      )}
    </code>
  );
}

export interface ColumnOf<R> {
  title: string;
  /** The cell; the title is repeated before it on a phone. */
  cell: (row: R) => ComponentChildren;
  /** Numbers stand right. */
  number?: boolean;
  /** Takes a whole line on a phone, without its title. */
  wide?: boolean;
  /** Left out on a phone. */
  minor?: boolean;
  /** Sorting by this column: the key, and what is sorted by now. */
  sort?: { key: string; by: string; set: (key: string) => void };
  class?: string;
}

/** A dense table that becomes a list of cards on a phone. */
export function Table<R>(props: { caption: string; columns: ColumnOf<R>[]; rows: R[]; rowKey: (row: R, at: number) => string; rowClass?: (row: R) => string }) {
  return (
    <div class="table-wrap">
      <table class="cards">
        <caption class="sr">{props.caption}</caption>
        <thead>
          <tr>
            {props.columns.map((c) => (
              <th scope="col" class={c.number ? "num" : ""} aria-sort={c.sort && c.sort.key === c.sort.by ? "descending" : undefined}>
                {c.sort ? (
                  <button type="button" class="sort" onClick={() => c.sort?.set(c.sort.key)}>
                    {c.title}
                    <span aria-hidden="true">{c.sort.key === c.sort.by ? " ↓" : ""}</span>
                  </button>
                ) : (
                  c.title
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.rows.map((row, at) => (
            <tr key={props.rowKey(row, at)} class={props.rowClass?.(row)}>
              {props.columns.map((c) => (
                <td data-title={c.title} class={[c.number ? "num" : "", c.wide ? "wide" : "", c.minor ? "minor" : "", c.class ?? ""].join(" ")}>
                  <div class="cell">{c.cell(row)}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A small line without axes. Nulls are holes. */
export function Sparkline(props: { values: (number | null)[]; label: string }) {
  const width = 96;
  const height = 22;
  const known = props.values.filter((v): v is number => v !== null);
  if (known.length < 2) return <span class="spark" />;
  const top = Math.max(...known, 0) || 1;
  const x = (i: number) => (i / Math.max(1, props.values.length - 1)) * width;
  const y = (v: number) => height - 1.5 - (v / top) * (height - 3);
  let line = "";
  let pen = false;
  props.values.forEach((v, i) => {
    if (v === null) {
      pen = false;
      return;
    }
    line += `${pen ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    pen = true;
  });
  return (
    <svg class="spark" viewBox={`0 0 ${width} ${height}`} width={width} height={height} role="img" aria-label={props.label}>
      <path d={line} />
    </svg>
  );
}

/** A share of a whole as a bar behind its number. */
export function ShareBar(props: { share: number | null; children: ComponentChildren; high?: boolean }) {
  const width = props.share === null ? 0 : Math.min(1, Math.max(0, props.share)) * 100;
  return (
    <span class={`share ${props.high ? "high" : ""}`}>
      <span class="bar" style={{ width: `${width.toFixed(1)}%` }} />
      <span class="on">{props.children}</span>
    </span>
  );
}

/** A button that copies a text. */
export function Copy(props: { text: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(props.text);
      setDone(true);
      setTimeout(() => setDone(false), 1500);
    } catch {
      setDone(false);
    }
  };
  return (
    <button type="button" class="plain" onClick={copy}>
      {done ? t("copied") : t("copy")}
    </button>
  );
}

/** Buttons of which one is chosen. */
export function Choices<K extends string>(props: { label: string; of: readonly { key: K; title: ComponentChildren }[]; chosen: K; choose: (key: K) => void }): JSX.Element {
  return (
    <div class="choices" role="group" aria-label={props.label}>
      {props.of.map((c) => (
        <button type="button" key={c.key} aria-pressed={c.key === props.chosen} onClick={() => props.choose(c.key)}>
          {c.title}
        </button>
      ))}
    </div>
  );
}
