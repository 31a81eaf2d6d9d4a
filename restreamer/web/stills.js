// What the selection looks and sounds like: the frames at its ends, and its sound as a picture.

import { frameUrl, waveformUrl } from "./api.js";

/** Edges are dragged and typed: nothing is asked for until they rest. */
const REST_MS = 400;

/** Of screens with two pixels for each of ours. */
const FRAME_SIZE = "320x180";
const SOUND_SIZE = "640x96";

const $ = (id) => document.getElementById(id);

export class Stills {
  #timer = null;

  constructor() {
    for (const image of this.#images) {
      image.addEventListener("load", () => this.#settle(image, true));
      // where nothing is recorded there is no picture, which the sentences beside it say already
      image.addEventListener("error", () => this.#settle(image, false));
    }
  }

  get #images() {
    return [$("start-still"), $("end-still"), $("sound")];
  }

  /** Show the pictures of these edges, either of which may be null; without a recording, none. */
  show(recording, start, end) {
    clearTimeout(this.#timer);
    const urls = recording === null ? [null, null, null] : this.#urls(recording, start, end);
    this.#images.forEach((image, index) => {
      if (image.getAttribute("src") !== urls[index]) this.#settle(image, false);
    });
    this.#timer = setTimeout(() => this.#fetch(urls), REST_MS);
  }

  #urls({ channel, quality }, start, end) {
    const frame = (moment) => (moment === null ? null : frameUrl(channel, quality, moment, FRAME_SIZE));
    const isRange = start !== null && end !== null && end > start;
    return [frame(start), frame(end), isRange ? waveformUrl(channel, quality, start, end, SOUND_SIZE) : null];
  }

  #fetch(urls) {
    this.#images.forEach((image, index) => {
      if (urls[index] === null) image.removeAttribute("src");
      else if (image.getAttribute("src") !== urls[index] || image.hidden) image.src = urls[index];
    });
  }

  #settle(image, isThere) {
    image.hidden = !isThere;
    $("stills").hidden = $("start-still").hidden && $("end-still").hidden;
  }
}
