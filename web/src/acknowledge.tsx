// Taking an alert over: who and why, remembered for the next time, and taking it back.
import { useState } from "preact/hooks";
import { acknowledge, ApiError, unacknowledge, type Alert } from "./api";
import { stamp } from "./format";
import { t } from "./language";
import { Trouble } from "./parts";
import { remember, remembered } from "./remembered";

/** What the browser knows of who sits before it. */
export function operatorName(): string {
  return remembered("operator") ?? "";
}

export function rememberOperator(name: string): void {
  remember("operator", name);
}

/** Runs a change, one at a time, and keeps what went wrong. */
export function useChange(done: () => void): { busy: boolean; error: ApiError | undefined; run: (change: () => Promise<unknown>) => void } {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | undefined>(undefined);
  const run = (change: () => Promise<unknown>) => {
    if (busy) return;
    setBusy(true);
    setError(undefined);
    change().then(
      () => {
        setBusy(false);
        done();
      },
      (cause: unknown) => {
        setBusy(false);
        setError(cause instanceof ApiError ? cause : new ApiError("internal", String(cause instanceof Error ? cause.message : cause)));
      },
    );
  };
  return { busy, error, run };
}

/** Who took the alert over, with the way back. */
export function Acknowledged(props: { alert: Alert; changed: () => void }) {
  const a = props.alert;
  const change = useChange(props.changed);
  if (!a.acknowledged) return null;
  const { by, at_ms, comment } = a.acknowledged;
  return (
    <div class="acknowledged">
      <span>
        <b>✓ {t("acknowledged_by", { by, time: stamp(at_ms) })}</b>
        {comment !== "" && <span class="muted"> — {comment}</span>}
      </span>
      <button type="button" class="plain" disabled={change.busy} onClick={() => change.run(() => unacknowledge(a.id))}>
        {t("take_back")}
      </button>
      {change.error && <Trouble error={change.error} />}
    </div>
  );
}

export function AcknowledgeForm(props: { id: string; done: () => void; cancel: () => void }) {
  const [by, setBy] = useState(operatorName);
  const [comment, setComment] = useState(() => remembered("comment") ?? "");
  const change = useChange(props.done);
  return (
    <form
      class="operate"
      onSubmit={(e) => {
        e.preventDefault();
        if (by.trim() === "") return;
        rememberOperator(by.trim());
        remember("comment", comment.trim());
        change.run(() => acknowledge(props.id, by.trim(), comment.trim()));
      }}
      onKeyDown={(e) => {
        if (e.key === "Escape") props.cancel();
      }}
    >
      <label>
        {t("your_name")}
        <input name="by" required autoFocus autocomplete="name" maxLength={100} value={by} onInput={(e) => setBy(e.currentTarget.value)} />
      </label>
      <label class="grow">
        {t("comment")}
        <input name="comment" maxLength={500} value={comment} onInput={(e) => setComment(e.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={change.busy || by.trim() === ""}>
        {t("acknowledge")}
      </button>
      <button type="button" class="plain" onClick={props.cancel}>
        {t("cancel")}
      </button>
      {change.error && <Trouble error={change.error} />}
    </form>
  );
}
