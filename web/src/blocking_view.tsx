// Who waits for whom, drawn: root blockers first, those that wait below them.
import { useState } from "preact/hooks";
import type { BlockingNode } from "./api";
import type { Blocked } from "./blocking";
import { duration } from "./format";
import { t } from "./language";
import { Link, Sql } from "./parts";
import type { SessionRow } from "./queries";

/** Sessions of `activity` in the shape of an alert's evidence. */
export function nodeOf(tree: Blocked<SessionRow>): BlockingNode {
  const s = tree.session;
  return {
    pid: s.pid,
    user: s.user,
    application: s.application,
    state: s.state,
    transaction_ms: s.transaction_ms,
    query_ms: s.query_ms,
    wait: [s.wait_class, s.wait].filter((w) => w !== null && w !== "").join(": ") || null,
    text: s.text,
    fingerprint: s.fingerprint,
    blocked: tree.blocked.map(nodeOf),
  };
}

function count(node: BlockingNode): number {
  return node.blocked.reduce((sum, b) => sum + 1 + count(b), 0);
}

export function BlockingTrees(props: { trees: BlockingNode[]; instance: string | null }) {
  return (
    <ul class="blocking">
      {props.trees.map((node) => (
        <Node key={node.pid} node={node} root instance={props.instance} />
      ))}
    </ul>
  );
}

const BLOCKED_SHOWN = 8;

function Node(props: { node: BlockingNode; root: boolean; instance: string | null }) {
  const { node, root, instance } = props;
  const waiting = count(node);
  const [all, setAll] = useState(false);
  const shown = all ? node.blocked : node.blocked.slice(0, BLOCKED_SHOWN);
  return (
    <li class={root ? "root" : ""}>
      <div class="session">
        <div class="who">
          {root && waiting > 0 && <span class="tag critical">{t("root_blocker")}</span>}
          <b>
            {t("pid")} {node.pid}
          </b>
          <span>{[node.user, node.application].filter((x) => x !== null && x !== "").join(" · ")}</span>
          {node.state !== null && <span class="tag">{node.state}</span>}
          {node.wait !== null && <span class="muted">{node.wait}</span>}
          {node.transaction_ms !== null && (
            <span class="muted">
              {t("transaction")} {duration(node.transaction_ms)}
            </span>
          )}
          {node.transaction_ms === null && node.query_ms !== null && (
            <span class="muted">
              {t("query")} {duration(node.query_ms)}
            </span>
          )}
          {waiting > 0 && <span class="tag warning">{t("waiting_n", { n: waiting })}</span>}
        </div>
        {node.text !== null && node.text !== "" && (
          <div class="what">
            {node.fingerprint !== null && instance !== null ? (
              <Link to={{ page: "statement", instance, fingerprint: node.fingerprint }} label={t("statement_open")}>
                <Sql text={node.text} />
              </Link>
            ) : (
              <Sql text={node.text} />
            )}
          </div>
        )}
      </div>
      {node.blocked.length > 0 && (
        <ul>
          {shown.map((b) => (
            <Node key={b.pid} node={b} root={false} instance={instance} />
          ))}
          {shown.length < node.blocked.length && (
            <li>
              <button type="button" class="plain" onClick={() => setAll(true)}>
                {t("show_rest", { n: node.blocked.length - shown.length })}
              </button>
            </li>
          )}
        </ul>
      )}
    </li>
  );
}
