// The server: what the page asks it, and how it says no.

import { iso } from "./times.js";

const PATIENCE_MS = 15_000;

/** The server answered with an error; the message is its sentence. */
export class RefusedError extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** The server did not answer. */
export class UnreachableError extends Error {}

let clockOffset = 0;

/** The server's idea of now; the browser's clock may be wrong. */
export function serverNow() {
  return Date.now() + clockOffset;
}

const part = encodeURIComponent;

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${given.map(([key, value]) => `${key}=${part(value)}`).join("&")}` : "";
}

/** List what is recorded: channels, a channel's qualities, a quality's hours, an hour's segment names. */
export function list(...path) {
  return getJson(["/files", ...path.map(part)].join("/"));
}

/** The address of a media playlist; without an end it grows. */
export function playlistUrl(channel, quality, start, end = null) {
  return `/playlist/${part(channel)}/${part(quality)}.m3u8${query({ start: iso(start), end: end && iso(end) })}`;
}

/** The address of a cut. */
export function cutUrl(channel, quality, start, end, allowHoles = false) {
  const holes = allowHoles ? "true" : null;
  const range = { start: iso(start), end: iso(end), type: "smart", allow_holes: holes };
  return `/cut/${part(channel)}/${part(quality)}.mp4${query(range)}`;
}

/** The address of the frame on screen at a moment, made to fit into so many pixels. */
export function frameUrl(channel, quality, moment, size) {
  return `/frame/${part(channel)}/${part(quality)}.png${query({ timestamp: iso(moment), size })}`;
}

/** The address of the picture of a range's sound, of so many pixels. */
export function waveformUrl(channel, quality, start, end, size) {
  return `/waveform/${part(channel)}/${part(quality)}.png${query({ start: iso(start), end: iso(end), size })}`;
}

/** Ask whether an address would be answered, without taking the answer. Raises RefusedError or UnreachableError. */
export async function check(url) {
  const stop = new AbortController();
  try {
    await ask(url, stop.signal);
  } finally {
    stop.abort();
  }
}

async function getJson(url) {
  const response = await ask(url, AbortSignal.timeout(PATIENCE_MS));
  const before = Date.parse(response.headers.get("Date"));
  // the header has whole seconds, so on average it is half a second behind
  if (before && Math.abs(before + 500 - serverNow()) > 1000) clockOffset = before + 500 - Date.now();
  return response.json();
}

async function ask(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal, cache: "no-cache" });
  } catch (error) {
    throw new UnreachableError("The server does not answer.", { cause: error });
  }
  if (!response.ok) throw new RefusedError(response.status, await sentence(response));
  return response;
}

async function sentence(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // no JSON: something between us and the server answered
  }
  return `The server answered ${response.status} ${response.statusText}`.trim() + ".";
}
