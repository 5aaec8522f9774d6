// The language in use and the words in it. Changing it draws the pages anew.
import { duration } from "./format";
import { WORDS, type Lang, type Word } from "./words";

/** The language of the browser, as far as we have it. */
export function browserLang(languages: readonly string[]): Lang {
  const first = languages.find((l) => /^(zh|en)/i.test(l));
  return first !== undefined && /^zh/i.test(first) ? "zh" : "en";
}

let lang: Lang = "en";

export function setLang(to: Lang): void {
  lang = to;
}

export function currentLang(): Lang {
  return lang;
}

/** A word or sentence in the language in use, values filled in. */
export function t(key: Word, values: Record<string, string | number> = {}): string {
  return fill(WORDS[key][lang === "zh" ? 1 : 0], values);
}

/** Fills `{name}` places; a name without a value stays as it is. */
export function fill(text: string, values: Record<string, string | number>): string {
  return text.replace(/\{(\w+)\}/g, (place, name: string) => (name in values ? String(values[name]) : place));
}

/** What the server says in both languages: the one in use, or the other where it is empty. */
export function said<T extends string | readonly string[]>(en: T, zh: T): T {
  const [first, second]: [T, T] = lang === "zh" ? [zh, en] : [en, zh];
  return first.length > 0 ? first : second;
}

const LENGTHS_ZH: Record<string, string> = { d: "天", h: "小时", min: "分", s: "秒" };

/** A duration of milliseconds in the language in use: `3 d 4 h`, `3 天 4 小时`. */
export function lasting(ms: number): string {
  const text = duration(ms);
  return lang === "zh" ? text.replace(/ (d|h|min|s)\b/g, (_, unit: string) => ` ${LENGTHS_ZH[unit]}`) : text;
}

/** An annotation in the language in use: `summary_zh` before `summary` in Chinese. */
export function annotation(annotations: Record<string, string>, name: string): string {
  if (lang === "zh") return annotations[`${name}_zh`] ?? annotations[name] ?? "";
  return annotations[name] ?? annotations[`${name}_en`] ?? "";
}
