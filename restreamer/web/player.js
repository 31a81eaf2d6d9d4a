// The player: one window of the recording at a time in hls.js, and the way between a frame and its moment, both ways.
//
// A window near the edge has no end and grows; an older one lasts an hour, and the next is loaded when it is over.

import { check, playlistUrl, serverNow } from "./api.js";
import { HOUR, MINUTE, SECOND } from "./times.js";

/** How much a window holds before the moment it is opened for, so that short steps back stay inside. */
const LEAD = 2 * MINUTE;

/** What is younger than this is opened as a window that grows. */
const NEAR = HOUR;

/** The server refuses growing windows of more than twelve hours; before that a newer one is opened. */
const LONGEST = 11 * HOUR;

/** Playing no further behind the last segment than this is called live. */
export const LIVE_WITHIN = 20 * SECOND;

const MEDIA_RECOVERY_PAUSE = 5 * SECOND;
const LONGEST_PAUSE = 10 * SECOND;

// a seek goes this far into its frame: moments are rounded to milliseconds, and a frame may begin just after its own
const INTO_FRAME = 0.001;

const USUAL_FRAME = 1 / 30;

/**
 * Events: `frame` (another frame is on screen), `change` (playing, paused, waiting, another window), `notice` (detail:
 * a sentence about what goes wrong, or null when it is over), `muted` (the browser refused sound), `end` (nothing more
 * is recorded).
 */
export class Player extends EventTarget {
  #video;
  #Hls;
  #hls = null;
  #recording = null;
  #window = null;
  #turn = 0; // counts windows: what was begun for an older one is dropped
  #target = null; // the moment a seek is under way to
  #wanted = true; // whether it should play as soon as it can
  #following = false;
  #stopAt = null;
  #frameTime = null; // media time of the frame on screen
  #frameDuration = USUAL_FRAME;
  #settledAt = null;
  #retry = null;
  #failures = 0;
  #recoveredAt = -Infinity;
  #lastDate = null;
  #ended = false;
  #troubled = false;

  constructor(video, Hls) {
    super();
    this.#video = video;
    this.#Hls = Hls;
    for (const name of ["play", "pause", "playing", "waiting", "volumechange", "ratechange"]) {
      video.addEventListener(name, () => this.#emit("change"));
    }
    video.addEventListener("playing", () => this.#recovered());
    video.addEventListener("seeked", () => this.#seeked());
    video.addEventListener("ended", () => this.#windowOver());
    video.addEventListener("timeupdate", () => this.#moved());
    this.#watchFrames();
  }

  /** Whether this browser can play at all. */
  static isSupported(Hls) {
    return Boolean(Hls?.isSupported());
  }

  /** The moment of the frame on screen, or the one being sought; null before the first frame. */
  get date() {
    if (this.#target !== null) return this.#target;
    if (this.#video.readyState < 1) return this.#lastDate;
    const { currentTime } = this.#video;
    const shown = this.#frameTime !== null && Math.abs(this.#frameTime - currentTime) < 0.5;
    const date = this.#dateAt(shown ? this.#frameTime : currentTime);
    if (date !== null) this.#lastDate = date;
    return this.#lastDate;
  }

  /** The end of the newest segment that the player knows of; null for an older window. */
  get edge() {
    const last = this.#window?.end === null ? this.#fragments.at(-1) : undefined;
    return last ? last.programDateTime + last.duration * SECOND : null;
  }

  get wanted() {
    return this.#wanted;
  }

  /** Whether it stays at the live edge. */
  get following() {
    return this.#following;
  }

  /** Whether all that is recorded has been played. */
  get ended() {
    return this.#ended;
  }

  /** Whether it should play but has nothing to show. */
  get waiting() {
    return this.#wanted && !this.#ended && (this.#target !== null || this.#video.readyState < 3);
  }

  /** Show another recording, at a moment or, with null, live. */
  async open(recording, moment = null) {
    this.#recording = recording;
    this.#lastDate = null;
    this.#failures = 0;
    await (moment === null ? this.live() : this.seek(moment));
  }

  /** Unload everything. */
  close() {
    this.#turn += 1;
    this.#recording = this.#window = this.#target = this.#lastDate = null;
    this.#unload();
    this.#emit("change");
  }

  /** Go to the live edge and stay there. */
  async live() {
    const { edge } = this.#recording;
    if (edge === null) return;
    this.#wanted = true;
    this.#stopAt = null;
    if (this.#window?.end === null && this.#hls?.liveSyncPosition) {
      this.#following = true;
      this.#target = null;
      this.#video.currentTime = this.#hls.liveSyncPosition;
      this.#start();
      return;
    }
    this.#following = true;
    const isFresh = serverNow() - edge < NEAR;
    await this.#load(isFresh ? Math.max(edge - HOUR, this.#recording.first) : edge - 10 * SECOND, isFresh);
  }

  /** Go to a moment, or where it is not recorded to the next that is (looking back: to the last before it). */
  async seek(moment, { backwards = false, stopAt = null } = {}) {
    this.#following = false;
    this.#ended = false;
    this.#stopAt = stopAt;
    const position = this.#positionOf(moment, backwards);
    if (position !== null) {
      clearTimeout(this.#retry);
      this.#target = this.#dateAt(position);
      this.#video.currentTime = position + INTO_FRAME;
      this.#start();
      return;
    }
    const turn = this.#turn;
    const recording = this.#recording;
    this.#target = moment;
    const found = await (backwards ? recording.lastRecorded(moment) : recording.nextRecorded(moment));
    if (turn !== this.#turn || recording !== this.#recording || this.#target !== moment) return;
    const nearest = found ?? (await (backwards ? recording.nextRecorded(moment) : recording.lastRecorded(moment)));
    if (nearest === null) this.#target = null;
    else await this.#load(nearest);
  }

  /** Go some milliseconds on or, below zero, back. */
  step(milliseconds) {
    if (this.date === null) return;
    void this.seek(this.date + milliseconds, { backwards: milliseconds < 0 });
  }

  /** Stop, and go one frame on or, with -1, back. */
  stepFrame(direction) {
    this.pause();
    const here = this.#frameTime ?? this.#video.currentTime;
    const frames = direction > 0 ? 1.5 : -0.5; // its middle, where rounding cannot reach the next one
    this.#following = false;
    this.#video.currentTime = Math.max(0, here + frames * this.#frameDuration);
  }

  /** Play what lies between two moments. */
  preview(start, end) {
    this.#wanted = true;
    return this.seek(start, { stopAt: end });
  }

  toggle() {
    if (this.#video.paused || this.#ended) this.play();
    else this.pause();
  }

  play() {
    this.#wanted = true;
    this.#start();
  }

  pause() {
    this.#wanted = false;
    this.#following = false;
    this.#video.pause();
    this.#emit("change");
  }

  /** To be called each second or so: renews a window that grows too long, goes on when more has been recorded. */
  tick() {
    if (!this.#recording || this.#recording.edge === null) return;
    const tooLong = this.#window?.end === null && serverNow() - this.#window.start > LONGEST;
    if (tooLong && this.date !== null) void (this.#following ? this.#reopen() : this.#load(this.date));
    else if (this.#ended && this.#wanted && this.#recording.edge > (this.#lastDate ?? 0) + 2 * SECOND) void this.#goOn();
  }

  // --- windows ---

  /** Open the window around a moment, or with `atEdge` the one from there to the live edge. */
  async #load(moment, atEdge = false) {
    const turn = (this.#turn += 1);
    const isNear = atEdge || serverNow() - moment < NEAR + LEAD;
    this.#unload();
    this.#ended = false;
    this.#target = atEdge ? null : moment;
    this.#window = { start: atEdge ? moment : moment - LEAD, end: isNear ? null : moment + HOUR };
    const hls = (this.#hls = new this.#Hls({ autoStartLoad: false, backBufferLength: 90, maxBufferLength: 30 }));
    const { channel, quality } = this.#recording;
    const url = playlistUrl(channel, quality, this.#window.start, this.#window.end);
    const { Events } = this.#Hls;
    hls.once(Events.LEVEL_LOADED, () => {
      const position = atEdge ? null : this.#positionOf(moment);
      if (position !== null) this.#target = this.#dateAt(position);
      hls.startLoad(position === null ? -1 : position + INTO_FRAME);
    });
    hls.on(Events.FRAG_BUFFERED, () => {
      if (turn !== this.#turn) return;
      this.#recovered();
      this.#settle();
    });
    hls.on(Events.ERROR, (_, data) => turn === this.#turn && data.fatal && this.#failed(data, url));
    hls.loadSource(url);
    hls.attachMedia(this.#video);
    this.#start();
    this.#emit("change");
  }

  #unload() {
    clearTimeout(this.#retry);
    this.#hls?.destroy();
    this.#hls = null;
    this.#frameTime = null;
  }

  async #reopen() {
    this.#window = null;
    const moment = this.#target ?? this.#lastDate;
    if (this.#following || moment === null) await this.live();
    else await this.#load(moment);
  }

  async #windowOver() {
    if (this.#window?.end == null) {
      this.#finish();
      return;
    }
    const turn = this.#turn;
    const next = await this.#recording.nextRecorded(this.#window.end).catch(() => null);
    if (turn !== this.#turn) return;
    if (next === null) this.#finish();
    else await this.#load(next);
  }

  #finish() {
    this.#ended = true;
    this.#emit("change");
    this.#emit("end");
  }

  async #goOn() {
    const next = await this.#recording.nextRecorded(this.#lastDate + SECOND);
    if (next !== null && this.#ended) await this.#load(next);
  }

  // --- playing ---

  async #start() {
    if (!this.#wanted) return;
    try {
      await this.#video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return; // another load has begun meanwhile
      if (this.#video.muted) {
        this.pause();
        return;
      }
      this.#video.muted = true;
      this.#emit("muted");
      await this.#start();
    }
  }

  #seeked() {
    this.#target = null;
    this.#emit("frame");
    this.#emit("change");
  }

  /**
   * Show the frame that was asked for, once it is there. A browser that seeks to just before what is loaded takes that
   * for good enough and shows the first frame of what is.
   */
  #settle() {
    const { buffered, currentTime, paused, seeking } = this.#video;
    const isLater = this.#frameTime !== null && this.#frameTime > currentTime + INTO_FRAME;
    if (!paused || seeking || !isLater || this.#settledAt === currentTime) return;
    const ranges = Array.from({ length: buffered.length }, (_, index) => [buffered.start(index), buffered.end(index)]);
    if (!ranges.some(([start, end]) => start <= currentTime && currentTime < end)) return;
    this.#settledAt = currentTime;
    this.#video.currentTime = currentTime;
  }

  #moved() {
    if (this.#stopAt !== null && this.date >= this.#stopAt && !this.#video.seeking) {
      this.#stopAt = null;
      this.pause();
    }
    this.#emit("frame");
  }

  #watchFrames() {
    const video = this.#video;
    if (!video.requestVideoFrameCallback) return;
    let before = null;
    const seen = (_, { mediaTime, presentedFrames }) => {
      if (before && presentedFrames === before.presentedFrames + 1) {
        const lasted = mediaTime - before.mediaTime;
        if (lasted > 0.005 && lasted < 0.2) this.#frameDuration = lasted;
      }
      before = { mediaTime, presentedFrames };
      this.#frameTime = mediaTime;
      if (!video.seeking) {
        this.#target = null;
        this.#moved();
      }
      video.requestVideoFrameCallback(seen);
    };
    video.requestVideoFrameCallback(seen);
  }

  // --- moments and positions ---

  get #fragments() {
    return this.#hls?.levels?.[0]?.details?.fragments ?? [];
  }

  #dateAt(position) {
    const fragments = this.#fragments;
    const fragment = fragments.findLast(({ start }) => start <= position + INTO_FRAME) ?? fragments[0];
    return fragment ? fragment.programDateTime + (position - fragment.start) * SECOND : null;
  }

  #positionOf(moment, backwards = false) {
    const fragments = this.#fragments;
    const first = fragments[0];
    if (!first || moment < first.programDateTime) return null;
    const index = fragments.findLastIndex(({ programDateTime }) => programDateTime <= moment);
    const { programDateTime, start, duration } = fragments[index];
    const into = (moment - programDateTime) / SECOND;
    if (into <= duration) return start + into;
    const next = fragments[index + 1];
    if (!next) return null;
    return backwards ? start + Math.max(0, duration - this.#frameDuration) : next.start;
  }

  // --- trouble ---

  #failed(data, url) {
    const { ErrorTypes } = this.#Hls;
    const status = data.response?.code ?? 0;
    if (data.type === ErrorTypes.MEDIA_ERROR && performance.now() - this.#recoveredAt > MEDIA_RECOVERY_PAUSE) {
      this.#recoveredAt = performance.now();
      this.#trouble("The video could not be decoded here; trying again…");
      this.#hls.recoverMediaError();
      this.#start();
      return;
    }
    this.#failures += 1;
    const pause = Math.min(LONGEST_PAUSE, SECOND * 2 ** (this.#failures - 1));
    const turn = this.#turn;
    this.#hls.stopLoad();
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => turn === this.#turn && this.#reopen(), pause);
    if (status >= 400 && status < 500) void this.#explain(url, turn);
    else if (data.type === ErrorTypes.NETWORK_ERROR) this.#trouble("The recording does not arrive; trying again…");
    else this.#trouble(`The player stumbled (${data.details}); trying again…`);
  }

  /** hls.js does not tell what the server said: ask again and show its sentence. */
  async #explain(url, turn) {
    try {
      await check(url);
    } catch (error) {
      if (turn === this.#turn) this.#trouble(error.message);
    }
  }

  #trouble(text) {
    this.#troubled = true;
    this.#emit("notice", text);
  }

  #recovered() {
    this.#failures = 0;
    if (!this.#troubled) return;
    this.#troubled = false;
    this.#emit("notice", null);
  }

  #emit(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
