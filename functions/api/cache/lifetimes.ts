/** How long an entry is served as fresh. */
export const FRESH_MS = 60_000;
/** How long what was read is kept for the day the origin fails: entries after they were fresh, and records of keys. */
export const KEPT_MS = 600_000;
