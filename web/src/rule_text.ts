// Texts of rules as readers want them: templates before they are filled in, runbooks as steps, titles of evidence. Pure.

/** A template as a reader wants it: `{{ $labels.instance }} uses {{ printf "%.0f" $value }} %` becomes `‹instance› uses ‹value› %`. */
export function templateOutline(text: string): string {
  // Of a choice the first branch is shown: it is what the alert usually says.
  let plain = text;
  for (;;) {
    const next = plain.replace(/\{\{-?\s*if\b(?:(?!\}\}).)*\}\}((?:(?!\{\{-?\s*(?:if|else|end)\b).)*)(?:\{\{-?\s*else\b(?:(?!\}\}).)*\}\}(?:(?!\{\{-?\s*(?:if|end)\b).)*)?\{\{-?\s*end\s*-?\}\}/s, "$1");
    if (next === plain) break;
    plain = next;
  }
  return plain.replace(/\{\{(.*?)\}\}/gs, (_, inside: string) => {
    const named = /\$(?:labels|externalLabels|forecast)\.([a-zA-Z_]\w*)/.exec(inside);
    if (named !== null) return `‹${named[1]!.replace(/_zh$/, "")}›`;
    return /\$value\b|\.Value\b/.test(inside) ? "‹value›" : "…";
  });
}

/** The steps of a runbook that counts them, "1. … 2. …"; otherwise its whole text as one. */
export function runbookSteps(text: string): string[] {
  if (!/^\s*1\.\s/.test(text)) return [text];
  const steps = text.split(/(?:^|\s|(?<=[。；]))\d+\.\s+/);
  return steps.map((s) => s.trim()).filter((s) => s !== "");
}

/** Titles of series that the server puts into every alert's evidence, in Chinese. */
const SERIES_ZH: Record<string, string> = {
  "what the rule watches": "规则所监视的值",
  "sessions that wait for a lock": "等待锁的会话",
  "active sessions": "活动会话",
  connections: "连接数",
  "transactions a second": "每秒事务",
  "statements a second": "每秒语句",
  "oldest transaction, seconds": "最久的事务（秒）",
  "replication lag, seconds": "复制延迟（秒）",
  "processors busy, share": "处理器使用率",
  "file systems used, share": "文件系统使用率",
  "reached (1) or not (0)": "可达（1）或不可达（0）",
};

/** The title of a series of evidence in the language in use; one we don't know stands as it is. */
export function seriesTitle(title: string, lang: "en" | "zh"): string {
  return lang === "zh" ? (SERIES_ZH[title] ?? title) : title;
}
