// What a browser remembers of its user; without storage the defaults hold.

export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(`tidewatch.${key}`);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(`tidewatch.${key}`, value);
  } catch {
    // A browser without storage forgets; nothing else is lost.
  }
}
