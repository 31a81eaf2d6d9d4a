// What the page shows, as the fragment of its address: #channel/quality?t=...&start=...&end=...

import { iso } from "./times.js";

const moment = (text) => {
  const value = text ? Date.parse(text) : NaN;
  return Number.isFinite(value) ? value : null;
};

const decode = (text) => {
  try {
    return decodeURIComponent(text) || null;
  } catch {
    return null; // half a %xx: someone cut the address short
  }
};

/** Read it: every part may be missing (null). `t` is the moment on screen; without one it is live. */
export function readAddress(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?", 2);
  const [channel = "", quality = ""] = path.split("/");
  const given = new URLSearchParams(query);
  const [t, start, end] = ["t", "start", "end"].map((key) => moment(given.get(key)));
  return { channel: decode(channel), quality: decode(quality), t, start, end };
}

/** Write it, so that a reload or a colleague sees the same. */
export function formatAddress({ channel, quality, t, start, end }) {
  const given = Object.entries({ t, start, end }).filter(([, value]) => value !== null);
  const query = given.map(([key, value]) => `${key}=${iso(value)}`).join("&");
  return `#${encodeURIComponent(channel)}/${encodeURIComponent(quality)}${query && "?"}${query}`;
}
