// Who waits for whom: the rows of `activity` of one moment as trees, with the root blockers at the top.

/** What is needed of a session. */
export interface Session {
  pid: number;
  blocked_by: string | null;
}

/** A session and those that wait for it. */
export interface Blocked<S extends Session> {
  session: S;
  blocked: Blocked<S>[];
  /** How many wait for it, directly or not. */
  waiting: number;
}

/** The pids of a `blocked_by` text (a JSON list); nothing readable is an empty list. */
export function blockers(text: string | null): number[] {
  if (text === null || text === "") return [];
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list.filter((p): p is number => Number.isInteger(p)) : [];
  } catch {
    return [];
  }
}

/**
 * Trees of the sessions that block or wait. A session that waits for several stands below the first; one that waits
 * for a pid we have no row of stands at the top; a cycle (a deadlock about to be found) is cut at its lowest pid.
 * The tree with the most waiting sessions comes first.
 */
export function blockingTrees<S extends Session>(sessions: readonly S[]): Blocked<S>[] {
  const byPid = new Map(sessions.map((s) => [s.pid, s]));
  const parent = new Map<number, number>();
  for (const session of [...sessions].sort((a, b) => b.pid - a.pid)) {
    const above = blockers(session.blocked_by).find((pid) => pid !== session.pid && byPid.has(pid));
    if (above !== undefined && !reaches(parent, above, session.pid)) parent.set(session.pid, above);
  }
  const build = (session: S): Blocked<S> => {
    const blocked = sessions.filter((s) => parent.get(s.pid) === session.pid).map(build);
    blocked.sort((a, b) => b.waiting - a.waiting || a.session.pid - b.session.pid);
    return { session, blocked, waiting: blocked.reduce((sum, b) => sum + 1 + b.waiting, 0) };
  };
  return sessions
    .filter((s) => !parent.has(s.pid))
    .map(build)
    .filter((tree) => tree.waiting > 0 || blockers(tree.session.blocked_by).length > 0)
    .sort((a, b) => b.waiting - a.waiting || a.session.pid - b.session.pid);
}

function reaches(parent: ReadonlyMap<number, number>, from: number, to: number): boolean {
  for (let at: number | undefined = from; at !== undefined; at = parent.get(at)) {
    if (at === to) return true;
  }
  return false;
}
