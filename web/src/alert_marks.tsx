// What else is true of an alert, as small words: blind, flapping, silenced, inhibited, taken over.
import type { Alert } from "./api";
import { stamp } from "./format";
import { t } from "./language";
import { Link } from "./parts";

const LINKS_MAX = 5;

/** Marks without links, for a row of a list. */
export function AlertMarks(props: { alert: Alert }) {
  const a = props.alert;
  return (
    <>
      {a.acknowledged && (
        <span class="tag" title={t("acknowledged_by", { by: a.acknowledged.by, time: stamp(a.acknowledged.at_ms) })}>
          ✓ {a.acknowledged.by}
        </span>
      )}
      {(a.silenced_by ?? []).length > 0 && <span class="tag">{t("mark_silenced")}</span>}
      {(a.inhibited_by ?? []).length > 0 && <span class="tag">{t("mark_inhibited")}</span>}
      {a.blind === true && <span class="tag warning">{t("mark_blind")}</span>}
      {a.flapping === true && <span class="tag warning">{t("mark_flapping")}</span>}
    </>
  );
}

/** The same in full, with links to what causes it. */
export function AlertFlags(props: { alert: Alert }) {
  const a = props.alert;
  const silenced = a.silenced_by ?? [];
  const inhibited = a.inhibited_by ?? [];
  if (!a.blind && !a.flapping && silenced.length + inhibited.length === 0) return null;
  return (
    <ul class="flags">
      {a.blind === true && (
        <li>
          <span class="tag warning">{t("mark_blind")}</span> {t("blind_explained")} <Link to={{ page: "rules" }} extra={{ search: a.rule }}>{t("rules")}</Link>
        </li>
      )}
      {a.flapping === true && (
        <li>
          <span class="tag warning">{t("mark_flapping")}</span> {t("flapping_explained")}
        </li>
      )}
      {silenced.length > 0 && (
        <li>
          <span class="tag">{t("mark_silenced")}</span> {t("silenced_explained")}{" "}
          {silenced.slice(0, LINKS_MAX).map((id) => (
            <>
              <Link to={{ page: "silences" }} extra={{ id }}>
                {id.slice(0, 8)}
              </Link>{" "}
            </>
          ))}
        </li>
      )}
      {inhibited.length > 0 && (
        <li>
          <span class="tag">{t("mark_inhibited")}</span> {t("inhibited_explained")}{" "}
          {inhibited.slice(0, LINKS_MAX).map((fingerprint) => (
            <>
              <Link to={{ page: "alerts" }} extra={{ state: "all", search: fingerprint }}>
                {fingerprint}
              </Link>{" "}
            </>
          ))}
        </li>
      )}
    </ul>
  );
}
