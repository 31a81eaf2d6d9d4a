// The piece to take away: its start and end, how they are set, whether it can be cut, and the way to the file.

import { RefusedError, check, cutUrl } from "./api.js";
import { Stills } from "./stills.js";
import { length, parseTyped, roughly, spoken } from "./times.js";

const $ = (id) => document.getElementById(id);

/** Events: `change` (an edge moved), `go` (detail: a moment), `preview`. */
export class Selection extends EventTarget {
  #recording = null;
  #start = null;
  #end = null;
  #near = () => Date.now();
  #checks = 0;
  #stills = new Stills();

  /** `near` gives the moment on screen: a clock typed without a day is near it. */
  constructor(near) {
    super();
    this.#near = near;
    for (const which of ["start", "end"]) {
      const field = $(which);
      field.addEventListener("change", () => this.#typed(which));
      field.addEventListener("keydown", (event) => {
        if (event.key === "Enter") this.#typed(which);
        if (event.key === "Escape") this.#show();
      });
      $(`set-${which}`).addEventListener("click", () => this.setHere(which));
      $(`go-${which}`).addEventListener("click", () => this[which] !== null && this.#emit("go", this[which]));
    }
    $("clear").addEventListener("click", () => this.set(null, null));
    $("preview").addEventListener("click", () => this.#emit("preview"));
    for (const [id, allowHoles] of [["download", false], ["anyway", true]]) {
      $(id).addEventListener("click", (event) => {
        event.preventDefault();
        void this.download(allowHoles);
      });
      $(id).addEventListener("keydown", (event) => {
        if (event.key === " ") $(id).click();
      });
    }
    this.#show();
  }

  get start() {
    return this.#start;
  }

  get end() {
    return this.#end;
  }

  /** Whether there is a piece: both ends, in their order. */
  get isPiece() {
    return this.#recording !== null && this.#start !== null && this.#end !== null && this.#end > this.#start;
  }

  /** Cut from another recording; the times stay. */
  use(recording) {
    this.#recording = recording;
    this.#show();
    void this.#lookForHoles();
  }

  set(start, end) {
    [this.#start, this.#end] = [start, end];
    this.#show();
    this.#emit("change");
    void this.#lookForHoles();
  }

  /** Move one edge; the other is dropped if that leaves it on the wrong side. */
  setEdge(which, moment) {
    // a cut takes the frames that begin from its start on: rounded up, that on screen would be left out
    const rounded = Math.floor(moment);
    if (which === "start") this.set(rounded, this.#end !== null && this.#end <= rounded ? null : this.#end);
    else this.set(this.#start !== null && this.#start >= rounded ? null : this.#start, rounded);
  }

  setHere(which) {
    const moment = this.#near();
    if (moment !== null) this.setEdge(which, moment);
  }

  /** Ask first, so that a refusal is a sentence here and no broken file; then let the browser fetch it. */
  async download(allowHoles = false) {
    if (!this.isPiece) return;
    const { channel, quality } = this.#recording;
    const url = cutUrl(channel, quality, this.#start, this.#end, allowHoles);
    const turn = (this.#checks += 1);
    this.#say("Asking for the cut…");
    try {
      await check(url);
    } catch (error) {
      if (turn !== this.#checks) return;
      this.#say(error.message, "bad");
      $("anyway").hidden = !(error instanceof RefusedError && error.status === 406);
      return;
    }
    if (turn !== this.#checks) return;
    this.#say("The download has started.");
    const link = document.createElement("a");
    link.href = url;
    link.download = `${channel}_${quality}_${spoken(this.#start).replace(/[: ]/g, "-")}.mp4`;
    link.click();
  }

  #typed(which) {
    const field = $(which);
    const text = field.value.trim();
    if (!text) {
      this.set(which === "start" ? null : this.#start, which === "end" ? null : this.#end);
      return;
    }
    if (this[which] !== null && text === spoken(this[which])) {
      this.#show(); // untouched, or restored
      return;
    }
    const moment = parseTyped(text, this[which] ?? this.#near() ?? Date.now());
    if (Number.isNaN(moment)) {
      field.setAttribute("aria-invalid", "true");
      this.#say("That is no time; write it like 2026-03-01 18:30:00 or 18:30:00.", "bad");
      return;
    }
    if (which === "start") this.set(moment, this.#end);
    else this.set(this.#start, moment);
  }

  #show() {
    for (const which of ["start", "end"]) {
      $(which).value = this[which] === null ? "" : spoken(this[which]);
      $(which).removeAttribute("aria-invalid");
      $(`go-${which}`).disabled = this[which] === null;
    }
    const both = this.#start !== null && this.#end !== null;
    $("length").textContent = both ? length(this.#end - this.#start) : "–";
    $("clear").hidden = this.#start === null && this.#end === null;
    $("preview").disabled = !this.isPiece;
    $("anyway").hidden = true;
    $("download").setAttribute("aria-disabled", String(!this.isPiece));
    this.#say(both && this.#end <= this.#start ? "The end is not after the start." : "", "bad");
    this.#link();
    this.#stills.show(this.#recording, this.#start, this.#end);
  }

  #link() {
    for (const [id, allowHoles] of [["download", false], ["anyway", true]]) {
      if (!this.isPiece) $(id).removeAttribute("href");
      else $(id).href = cutUrl(this.#recording.channel, this.#recording.quality, this.#start, this.#end, allowHoles);
    }
  }

  async #lookForHoles() {
    const turn = (this.#checks += 1);
    if (!this.isPiece) return;
    const end = Math.min(this.#end, Math.max(this.#start, this.#recording.edge ?? this.#end));
    const holes = await this.#recording.holes(this.#start, end).catch(() => []);
    if (turn !== this.#checks) return;
    if (end < this.#end) this.#say("The end is not recorded yet.", "late");
    else if (holes.length) {
      const missing = holes.reduce((sum, hole) => sum + hole.end - hole.start, 0);
      const what = holes.length === 1 ? "There is a hole" : `There are ${holes.length} holes`;
      this.#say(`${what} in the selection: ${roughly(missing)} of it ${holes.length === 1 ? "is" : "are"} missing.`, "late");
      $("anyway").hidden = false;
    }
  }

  #say(text, level = "") {
    $("said").textContent = text;
    $("said").dataset.level = level;
  }

  #emit(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
