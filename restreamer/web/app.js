// The page: puts its parts together, keeps them up to date, and says in plain sentences how things are.

import { formatAddress, readAddress } from "./address.js";
import { UnreachableError, list, serverNow } from "./api.js";
import { Overview } from "./overview.js";
import { LIVE_WITHIN, Player } from "./player.js";
import { Recording } from "./recording.js";
import { Selection } from "./selection.js";
import { Timeline } from "./timeline.js";
import { MINUTE, SECOND, clock, day, length, roughly, spoken } from "./times.js";

const LOOK_EVERY = 4 * SECOND;
const LOOK_EVERY_HIDDEN = 30 * SECOND;
const LOOK_EVERY_EMPTY = 2 * SECOND;

/** A segment is a few seconds long; nothing new for longer than this is worth a word. */
const LATE_AFTER = 20 * SECOND;
const OFFLINE_AFTER = 5 * MINUTE;

const OVERVIEW_EVERY = SECOND;

const $ = (id) => document.getElementById(id);
const { Hls } = window;

const video = $("video");
const player = new Player(video, Hls);
const timeline = new Timeline($("strip"));
const overview = new Overview($("overview"));
const selection = new Selection(() => player.date);

let recording = null; // what is chosen; null until a channel and a quality are known
let wanted = readAddress(); // from the address, until it is on screen
let isOpen = false; // whether the player has been given the recording
let isReachable = true;
let looking = null;

// --- what is there ---

async function look() {
  clearTimeout(looking);
  try {
    await lookForChannels();
    if (recording) await recording.refresh();
    isReachable = true;
  } catch (error) {
    if (error instanceof UnreachableError || error.name === "TimeoutError") isReachable = false;
    else {
      isReachable = true;
      say(error.message);
    }
  }
  if (isReachable && recording?.edge != null && !isOpen) openPlayer();
  if (selection.isPiece) timelineChanged();
  showStates();
  const pause = document.hidden ? LOOK_EVERY_HIDDEN : recording?.edge == null ? LOOK_EVERY_EMPTY : LOOK_EVERY;
  clearTimeout(looking);
  looking = setTimeout(look, pause);
}

async function lookForChannels() {
  const channels = await list();
  const channel = channels.includes(recording?.channel) ? recording.channel : pick(channels, wanted.channel);
  fill($("channel"), channels, channel);
  const qualities = channel === undefined ? [] : await list(channel);
  const isSame = recording !== null && channel === recording.channel && qualities.includes(recording.quality);
  const quality = isSame ? recording.quality : pick(qualities, wanted.quality ?? "source");
  fill($("quality"), qualities, quality);
  if (!isSame) choose(channel, quality);
}

const pick = (names, liked) => (names.includes(liked) ? liked : names[0]);

function fill(select, names, chosen) {
  const shown = [...select.options].map((option) => option.value);
  if (shown.join("\n") !== names.join("\n")) select.replaceChildren(...names.map((name) => new Option(name)));
  select.value = chosen ?? "";
  select.disabled = names.length === 0;
}

function choose(channel, quality) {
  if (channel === recording?.channel && quality === recording?.quality) return;
  recording = channel === undefined || quality === undefined ? null : new Recording(channel, quality);
  isOpen = false;
  player.close();
  overview.reset(recording);
  selection.use(recording);
  document.title = channel ? `${channel} · Respool` : "Respool";
}

function openPlayer() {
  if (!Player.isSupported(Hls)) return;
  isOpen = true;
  if (wanted.start !== null || wanted.end !== null) selection.set(wanted.start, wanted.end);
  void attempt(player.open(recording, wanted.t));
  wanted = { channel: null, quality: null, t: null, start: null, end: null };
}

/** What the server does not answer now is tried again by the player or by the next look; here it is only said. */
async function attempt(work) {
  try {
    await work;
  } catch (error) {
    say(error.message);
  }
}

$("channel").addEventListener("change", (event) => {
  wanted = { ...wanted, channel: event.target.value, quality: recording?.quality ?? null, t: null };
  choose(undefined, undefined);
  void look();
});

// another quality shows the same moment
$("quality").addEventListener("change", (event) => {
  const t = player.following ? null : player.date;
  wanted = { ...wanted, channel: recording.channel, quality: event.target.value, t };
  choose(recording.channel, event.target.value);
  void look();
});

window.addEventListener("hashchange", () => {
  wanted = readAddress();
  if (wanted.channel !== recording?.channel || wanted.quality !== recording?.quality) choose(undefined, undefined);
  isOpen = false;
  void look();
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) void look();
});

// --- how things are ---

function say(text) {
  const banner = $("trouble");
  if (banner.textContent !== (text ?? "")) banner.textContent = text ?? "";
  banner.hidden = !text;
}

function showStates() {
  showHealth();
  showOverlay();
}

/** The end of the newest segment that anyone here knows of. */
function edge() {
  return recording?.edge == null ? null : Math.max(recording.edge, player.edge ?? -Infinity);
}

function showHealth() {
  if (!isReachable) {
    health("bad", "No answer");
    say("The server does not answer; trying again…");
    return;
  }
  if ($("trouble").textContent.startsWith("The server does not answer")) say(null);
  const newest = edge();
  if (newest === null) {
    health("idle", "Nothing recorded yet");
    return;
  }
  const age = Math.max(0, serverNow() - newest);
  if (age < LATE_AFTER) health("good", "Recording");
  else if (age < OFFLINE_AFTER) health("late", `Last segment ${roughly(age)} ago`);
  else health("bad", `Offline, last segment ${roughly(age)} ago`);
}

function health(level, text) {
  const box = $("health");
  const words = box.querySelector("span");
  box.dataset.level = level;
  if (words.textContent !== text) words.textContent = text;
}

function showOverlay() {
  const { text, hint = "", still = false, light = false } = overlay() ?? {};
  const box = $("overlay");
  box.hidden = text === undefined;
  if (text === undefined) return;
  box.classList.toggle("still", still);
  box.classList.toggle("light", light);
  if ($("overlay-text").textContent !== text) $("overlay-text").textContent = text;
  if ($("overlay-hint").textContent !== hint) $("overlay-hint").textContent = hint;
}

function overlay() {
  if (!Hls) return { text: "The player is missing from this installation.", hint: "vendor/hls.min.js was not found.", still: true };
  if (!Player.isSupported(Hls)) {
    const hint = "Set start and end by hand; downloads work.";
    return { text: "This browser cannot play the recording.", hint, still: true };
  }
  if (!isReachable && player.date === null) return { text: "The server does not answer.", hint: "Trying again…" };
  const newest = edge();
  if (newest === null) {
    const whose = recording ? ` of ${recording.channel}` : "";
    return { text: `Nothing is recorded${whose} yet.`, hint: "Waiting for the first segment…" };
  }
  const age = serverNow() - newest;
  const stopped = `The last segment came ${roughly(Math.max(0, age))} ago, at ${clock(newest)} UTC.`;
  if (player.ended) return { text: "This is where the recording ends.", hint: stopped, still: true, light: true };
  if (!player.waiting) return undefined;
  const isAtEdge = player.date !== null && newest - player.date < 3 * SECOND;
  if (age > LATE_AFTER && isAtEdge) return { text: "Waiting for the next segment…", hint: stopped, light: true };
  return { text: "Loading…", light: player.date !== null };
}

player.addEventListener("notice", (event) => say(event.detail));
player.addEventListener("muted", () => ($("unmute").hidden = false));

// --- the time on screen ---

function showTime() {
  const { date } = player;
  const time = $("now");
  if (date === null) {
    time.replaceChildren("--:--:--", small(".---"));
    for (const id of ["now-day", "now-local", "behind"]) $(id).textContent = "\u00a0";
    return;
  }
  const text = spoken(date);
  time.replaceChildren(text.slice(11, 19), small(text.slice(19)));
  time.dateTime = `${text.replace(" ", "T")}Z`;
  $("now-day").textContent = day(date);
  $("now-local").textContent = `${localTime.format(date)} where you are`;
  showBehind(date);
}

const localTime = new Intl.DateTimeFormat(undefined, {
  weekday: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});

function small(text) {
  const made = document.createElement("small");
  made.textContent = text;
  return made;
}

function showBehind(date) {
  const newest = edge();
  const behind = Math.max(0, newest - date);
  const isFresh = serverNow() - newest < LATE_AFTER;
  const isLive = isFresh && behind < LIVE_WITHIN && player.wanted;
  $("behind").textContent = isLive ? "live" : `${length(behind, false)} before ${isFresh ? "live" : "the end"}`;
  $("behind").classList.toggle("is-live", isLive);
  $("live").setAttribute("aria-pressed", String(isLive));
}

// --- timeline ---

function facts() {
  const { range } = timeline;
  const known = recording && range ? recording.spansIn(range.start, range.end) : { spans: [], complete: false };
  const { start, end } = selection;
  return { ...known, first: recording?.first ?? null, edge: recording?.edge ?? null, date: player.date, start, end };
}

function timelineChanged() {
  timeline.show(facts());
}

/** Read what the strip shows and does not know yet. */
function readView() {
  const { range } = timeline;
  if (!recording || !range) return;
  for (const name of recording.hoursIn(range.start, range.end)) {
    if (!recording.known(name)) recording.load(name).then(timelineChanged, () => {}); // the next look says what is wrong
  }
}

function go(moment, options) {
  if (!recording || recording.edge === null) return;
  timeline.follow();
  const newest = edge();
  void attempt(newest !== null && moment >= newest ? player.live() : player.seek(moment, options));
}

timeline.addEventListener("go", (event) => go(event.detail));
timeline.addEventListener("edge", (event) => selection.setEdge(event.detail.which, event.detail.moment));
timeline.addEventListener("look", () => {
  readView();
  timelineChanged();
});
timeline.addEventListener("zoom", () => {
  for (const button of document.querySelectorAll("[data-span]")) {
    button.setAttribute("aria-pressed", String(Math.abs(button.dataset.span * MINUTE - timeline.span) < SECOND));
  }
  readView();
  timelineChangedSoon();
});
overview.addEventListener("go", (event) => go(event.detail));
for (const button of document.querySelectorAll("[data-span]")) {
  button.addEventListener("click", () => timeline.zoom(button.dataset.span * MINUTE));
}

let drawing = false;
function timelineChangedSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    timelineChanged();
  });
}

// --- controls ---

const actions = {
  " ": () => player.toggle(),
  ArrowLeft: (event) => step(event.shiftKey ? -10 * SECOND : -SECOND),
  ArrowRight: (event) => step(event.shiftKey ? 10 * SECOND : SECOND),
  ",": () => player.stepFrame(-1),
  ".": () => player.stepFrame(1),
  i: () => selection.setHere("start"),
  o: () => selection.setHere("end"),
  p: () => preview(),
  d: () => void selection.download(),
  l: () => goLive(),
  m: () => toggleMute(),
  f: () => toggleFullscreen(),
};

function step(milliseconds) {
  timeline.follow();
  if (player.date !== null) go(player.date + milliseconds, { backwards: milliseconds < 0 });
}

function preview() {
  if (!selection.isPiece) return;
  timeline.follow();
  void attempt(player.preview(selection.start, selection.end));
}

function goLive() {
  if (!recording || recording.edge === null) return;
  timeline.follow();
  void attempt(player.live());
}

function toggleMute() {
  video.muted = !video.muted;
  if (!video.muted && video.volume === 0) video.volume = 1;
}

function toggleFullscreen() {
  if (document.fullscreenElement) void document.exitFullscreen();
  else void $("screen").requestFullscreen?.();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const { target } = event;
  if (target.matches("input, select, textarea, summary")) return;
  if (event.key === " " && target.matches("button, a")) return; // it presses what has the focus
  const action = actions[event.key] ?? (event.key.length === 1 ? actions[event.key.toLowerCase()] : undefined);
  if (!action || (event.shiftKey && !event.key.startsWith("Arrow") && event.key.length > 1)) return;
  event.preventDefault();
  action(event);
});

// a click leaves the focus where it was, so that the space bar goes on to mean play and pause
document.addEventListener("mousedown", (event) => {
  if (event.target.closest("button, a.button")) event.preventDefault();
});

$("toggle").addEventListener("click", () => player.toggle());
video.addEventListener("click", () => player.toggle());
$("live").addEventListener("click", goLive);
$("mute").addEventListener("click", toggleMute);
$("fullscreen").addEventListener("click", toggleFullscreen);
$("screen").addEventListener("dblclick", toggleFullscreen);
$("volume").addEventListener("input", (event) => {
  video.volume = Number(event.target.value);
  video.muted = video.volume === 0;
});
$("speed").addEventListener("change", (event) => (video.playbackRate = video.defaultPlaybackRate = Number(event.target.value)));
$("unmute").addEventListener("click", () => (video.muted = false));
for (const button of document.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => step(Number(button.dataset.step)));
}
for (const button of document.querySelectorAll("[data-frame]")) {
  button.addEventListener("click", () => player.stepFrame(Number(button.dataset.frame)));
}
selection.addEventListener("go", (event) => go(event.detail));
selection.addEventListener("preview", preview);
selection.addEventListener("change", () => {
  timelineChangedSoon();
  overviewChanged();
  keepAddress();
});

function showControls() {
  const isPlaying = player.wanted && !player.ended;
  $("toggle-icon").setAttribute("href", isPlaying ? "#icon-pause" : "#icon-play");
  $("toggle").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
  $("mute-icon").setAttribute("href", video.muted ? "#icon-muted" : "#icon-sound");
  $("mute").setAttribute("aria-label", video.muted ? "Sound on" : "Mute");
  $("volume").value = String(video.muted ? 0 : video.volume);
  if (!video.muted) $("unmute").hidden = true;
}

player.addEventListener("change", () => {
  showControls();
  showStates();
});
player.addEventListener("frame", () => {
  showTime();
  timelineChangedSoon();
});

// --- what comes round ---

function overviewChanged() {
  overview.show({ date: player.date, start: selection.start, end: selection.end });
}

/** Keep the address what a reload needs; while live, it has no time. */
function keepAddress() {
  if (!recording || !isOpen) return;
  const { channel, quality } = recording;
  const t = player.following ? null : player.date;
  const hash = formatAddress({ channel, quality, t, start: selection.start, end: selection.end });
  if (hash !== location.hash) history.replaceState(null, "", hash);
}

setInterval(() => {
  if (recording && isOpen) player.tick();
  showStates();
  showTime();
  readView();
  timelineChangedSoon();
  overviewChanged();
  keepAddress();
}, OVERVIEW_EVERY);

showControls();
showStates();
void look();
