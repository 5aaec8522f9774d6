// Texts of rules before they are filled in: what a template will stand for, as words. Pure.

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
