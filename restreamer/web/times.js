// Times. Inside the page a moment is a number: milliseconds since 1970, UTC, with a fraction for the microseconds.

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Read an hour's folder name such as `2026-03-01T18`; NaN if it is none. */
export function parseHour(name) {
  return /^\d{4}-\d\d-\d\dT\d\d$/.test(name) ? Date.parse(`${name}:00:00Z`) : NaN;
}

/** Write a moment as the server takes it: `2026-03-01T18:30:00.000Z`. */
export function iso(moment) {
  return new Date(Math.round(moment)).toISOString();
}

/** Write a moment as people read it: `2026-03-01 18:30:00.000`, UTC. */
export function spoken(moment) {
  return iso(moment).replace("T", " ").slice(0, -1);
}

/** Only the clock of a moment: `18:30:00`, UTC. */
export function clock(moment) {
  return iso(moment).slice(11, 19);
}

/** The day of a moment: `2026-03-01`, UTC. */
export function day(moment) {
  return iso(moment).slice(0, 10);
}

const WRITTEN =
  /^(?:(\d{4}-\d\d-\d\d)[T ]+)?(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(?:Z|UTC|\+00:00)?$/i;

/**
 * Read what someone typed: `2026-03-01 18:30:00.5`, with T or Z too, or only a clock, which is then that of the day
 * of `near`, or of the day before or after where that is closer to it. NaN if it is no time.
 */
export function parseTyped(text, near) {
  const found = WRITTEN.exec(text.trim());
  if (!found) return NaN;
  const [, date, hours, minutes, seconds = "00", fraction = "0"] = found;
  const moment = (onDay) =>
    Date.parse(`${onDay}T${hours.padStart(2, "0")}:${minutes}:${seconds}Z`) + Number(`0.${fraction}`) * SECOND;
  if (date) return day(Date.parse(`${date}T00:00:00Z`) || 0) === date ? moment(date) : NaN;
  const candidates = [-DAY, 0, DAY].map((shift) => moment(day(near + shift)));
  return candidates.reduce((best, one) => (Math.abs(one - near) < Math.abs(best - near) ? one : best));
}

/** Write a length: `0:00:10.000`, or without milliseconds `0:00:10`. */
export function length(milliseconds, withMilliseconds = true) {
  const whole = Math.round(Math.abs(milliseconds));
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const text = `${Math.floor(whole / HOUR)}:${two((whole % HOUR) / MINUTE)}:${two((whole % MINUTE) / SECOND)}`;
  const sign = milliseconds < 0 ? "−" : "";
  return sign + text + (withMilliseconds ? `.${String(whole % SECOND).padStart(3, "0")}` : "");
}

/** Write a length roughly, as in a sentence: `40 s`, `3 min`, `2 h 10 min`, `3 days`. */
export function roughly(milliseconds) {
  const seconds = Math.round(milliseconds / SECOND);
  if (seconds < 1) return `${Math.round(milliseconds)} ms`;
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  if (minutes < 48 * 60) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  return `${Math.round(minutes / 60 / 24)} days`;
}
