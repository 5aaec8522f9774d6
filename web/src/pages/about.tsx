// What this is, its versions, and the licences of the libraries in these pages.
import { ApiError, buildinfo } from "../api";
import { t } from "../language";
import { Await, Panel } from "../parts";
import { useData } from "../shell_state";

declare const __VERSION__: string;

interface Licence {
  name: string;
  version: string;
  licence: string;
  home: string;
  text: string;
}

async function licences(signal: AbortSignal): Promise<Licence[]> {
  const response = await fetch("/licences.json", { signal });
  if (!response.ok) throw new ApiError("bad_answer", `licences.json: HTTP ${response.status}`);
  return (await response.json()) as Licence[];
}

export function About() {
  const build = useData("build", "", buildinfo);
  const list = useData("licences", "", licences);
  return (
    <>
      <h1>Tidewatch 观潮</h1>
      <p class="lead">{t("tagline")}</p>
      <Panel title={t("version")}>
        <dl class="pairs">
          <div>
            <dt>{t("server_version")}</dt>
            <dd>
              <Await of={build}>{(b) => [b["application"] ?? "", b["version"] ?? "", b["revision"] ?? ""].filter((x) => x !== "").join(" ")}</Await>
            </dd>
          </div>
          <div>
            <dt>web</dt>
            <dd>{__VERSION__} · Apache-2.0</dd>
          </div>
        </dl>
      </Panel>
      <Panel title={t("libraries")}>
        <Await of={list}>
          {(all) => (
            <>
              {all.map((l) => (
                <details>
                  <summary>{t("library_licence", { name: l.name, version: l.version, licence: l.licence })}</summary>
                  <pre>{l.text}</pre>
                </details>
              ))}
            </>
          )}
        </Await>
      </Panel>
    </>
  );
}
