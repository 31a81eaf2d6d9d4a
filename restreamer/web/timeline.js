// The strip around the time on screen: what is recorded, holes, the selection, the playhead. Click to go there, drag to
// look around, drag an edge of the selection to move it, turn the wheel to zoom.

import { holesIn } from "./names.js";
import { HOUR, MINUTE, SECOND, clock, day, spoken } from "./times.js";

const COLOURS = { full: "#3fb79f", suspect: "#d9a441", partial: "#cf7f3c" };
const HOLE = "#e5566d";
const SELECT = "#ffb35c";
const INK = "#edf2f7";
const MUTED = "#9fb0c3";

const SHORTEST = 20 * SECOND;
const LONGEST = 12 * HOUR;
const TICKS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200].map((seconds) => seconds * SECOND);
const TICK_PIXELS = 84;

const GRAB_PIXELS = 8;
const CLICK_PIXELS = 4;

// the playhead is kept between these parts of the strip's width
const [LEFT, RIGHT] = [0.1, 0.8];

/** Events: `go` (detail: a moment), `edge` (detail: {which: "start" | "end", moment}), `zoom`, `look` (needs hours). */
export class Timeline extends EventTarget {
  #canvas;
  #context;
  #view = { start: null, span: 10 * MINUTE };
  #free = false; // looking elsewhere than at the playhead
  #facts = { spans: [], complete: false, first: null, edge: null, date: null, start: null, end: null };
  #drag = null;
  #hover = null;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    new ResizeObserver(() => this.#draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => (this.#drag = null));
    canvas.addEventListener("pointerleave", () => this.#setHover(null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** The range in view, as moments; null before there is a playhead. */
  get range() {
    const { start, span } = this.#view;
    return start === null ? null : { start, end: start + span };
  }

  get span() {
    return this.#view.span;
  }

  /** Show this many milliseconds, the playhead where it is. */
  zoom(span, around = this.#facts.date) {
    const bounded = Math.min(LONGEST, Math.max(SHORTEST, span));
    const { start, span: before } = this.#view;
    if (start !== null && around !== null) this.#view.start = around - ((around - start) / before) * bounded;
    this.#view.span = bounded;
    this.#emit("zoom");
    this.show(this.#facts);
  }

  /** Come back to the playhead. */
  follow() {
    this.#free = false;
  }

  /** Draw these facts: the spans known, the ends of the recording, the playhead and the selection. */
  show(facts) {
    this.#facts = facts;
    if (!this.#free) this.#keepInView(facts.date);
    this.#draw();
    this.#canvas.setAttribute("aria-valuetext", facts.date === null ? "nothing yet" : `${spoken(facts.date)} UTC`);
  }

  #keepInView(date) {
    if (date === null) return;
    const { start, span } = this.#view;
    const at = start === null ? NaN : (date - start) / span;
    // what is not yet recorded is no use: at the live edge most of the strip shows what was
    const fullest = (this.#facts.edge ?? Infinity) - span * RIGHT;
    if (!(at > LEFT - 1 && at < RIGHT + 1)) this.#view.start = Math.min(date - span * 0.5, fullest);
    else if (at < LEFT) this.#view.start = date - span * LEFT;
    else if (at > RIGHT) this.#view.start = date - span * RIGHT;
  }

  // --- drawing ---

  #draw() {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const scale = window.devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const context = this.#context;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    if (this.#view.start === null) return;
    const band = { top: 26, height: height - 38 };
    this.#drawTicks(width, height);
    this.#drawSpans(band);
    this.#drawSelection(band, width);
    this.#drawHover(height, width);
    this.#drawPlayhead(height);
  }

  #x(moment) {
    const { start, span } = this.#view;
    return ((moment - start) / span) * this.#canvas.clientWidth;
  }

  #moment(x) {
    const { start, span } = this.#view;
    return start + (x / this.#canvas.clientWidth) * span;
  }

  #fill(colour, start, end, top, height, least = 0) {
    const from = this.#x(start);
    this.#context.fillStyle = colour;
    this.#context.fillRect(from, top, Math.max(least, this.#x(end) - from), height);
  }

  #drawTicks(width, height) {
    const context = this.#context;
    const { start, span } = this.#view;
    const step = TICKS.find((one) => (one / span) * width >= TICK_PIXELS) ?? TICKS.at(-1);
    context.font = '12px ui-monospace, "DejaVu Sans Mono", monospace';
    context.textBaseline = "top";
    context.textAlign = "left";
    for (let moment = Math.floor(start / step) * step; moment < start + span; moment += step) {
      const x = Math.round(this.#x(moment)) + 0.5;
      context.fillStyle = "#253140";
      context.fillRect(x, 4, 1, height - 8);
      context.fillStyle = MUTED;
      context.fillText(this.#label(moment, step), x + 5, 7);
    }
  }

  #label(moment, step) {
    const text = step < MINUTE ? clock(moment) : clock(moment).slice(0, 5);
    return text === "00:00" ? day(moment).slice(5) : text;
  }

  #drawSpans({ top, height }) {
    const { spans, complete, first, edge } = this.#facts;
    const { start, end } = this.range;
    for (const span of spans) this.#fill(COLOURS[span.type], span.start, span.end, top, height, 1);
    if (!complete || first === null) return;
    const [from, to] = [Math.max(start, first), Math.min(end, edge)];
    for (const hole of to > from ? holesIn(spans, from, to) : []) this.#drawHole(hole, top, height);
  }

  #drawHole(hole, top, height) {
    this.#fill("#3a1a22", hole.start, hole.end, top, height, 2);
    this.#fill(HOLE, hole.start, hole.end, top, 3, 2);
    this.#fill(HOLE, hole.start, hole.end, top + height - 3, 3, 2);
  }

  #drawSelection({ top, height }, width) {
    const { start, end } = this.#facts;
    if (start !== null && end !== null && end > start) {
      this.#fill("#ffb35c4d", start, end, top - 5, height + 10, 2);
      this.#fill(SELECT, start, end, top - 5, 2, 2);
      this.#fill(SELECT, start, end, top + height + 3, 2, 2);
    }
    for (const [moment, direction] of [[start, 1], [end, -1]]) {
      if (moment === null) continue;
      const x = this.#x(moment);
      if (x < -GRAB_PIXELS || x > width + GRAB_PIXELS) continue;
      this.#context.fillStyle = SELECT;
      this.#context.fillRect(x - 1, top - 5, 2, height + 10);
      this.#context.fillRect(direction > 0 ? x - 1 : x - 6, top - 5, 7, 10);
    }
  }

  #drawHover(height, width) {
    if (this.#hover === null) return;
    const context = this.#context;
    const text = clock(this.#moment(this.#hover));
    context.fillStyle = "#ffffff66";
    context.fillRect(this.#hover - 0.5, 22, 1, height - 22);
    context.font = '600 12px ui-monospace, "DejaVu Sans Mono", monospace';
    const wide = context.measureText(text).width + 12;
    const left = Math.min(width - wide, Math.max(0, this.#hover - wide / 2));
    context.fillStyle = "#324155";
    context.fillRect(left, 2, wide, 19);
    context.fillStyle = INK;
    context.fillText(text, left + 6, 6);
  }

  #drawPlayhead(height) {
    const { date } = this.#facts;
    if (date === null) return;
    const x = this.#x(date);
    const context = this.#context;
    context.fillStyle = INK;
    context.fillRect(x - 1, 18, 2, height - 18);
    context.beginPath();
    context.moveTo(x - 6, 16);
    context.lineTo(x + 6, 16);
    context.lineTo(x, 24);
    context.fill();
  }

  // --- the pointer ---

  #down(event) {
    if (event.button !== 0 || this.#view.start === null) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const x = event.offsetX;
    this.#drag = { x, which: this.#edgeAt(x), viewStart: this.#view.start, moved: false };
  }

  #edgeAt(x) {
    const { start, end } = this.#facts;
    const distance = { start: start === null ? Infinity : this.#x(start) - x, end: end === null ? Infinity : this.#x(end) - x };
    const nearest = Math.abs(distance.start) <= Math.abs(distance.end) ? "start" : "end";
    return Math.abs(distance[nearest]) <= GRAB_PIXELS ? nearest : null;
  }

  #move(event) {
    const x = event.offsetX;
    this.#canvas.style.cursor = this.#drag?.which || this.#edgeAt(x) ? "ew-resize" : this.#drag?.moved ? "grabbing" : "pointer";
    if (event.pointerType === "mouse") this.#setHover(x);
    const drag = this.#drag;
    if (!drag) return;
    drag.moved ||= Math.abs(x - drag.x) > CLICK_PIXELS;
    if (!drag.moved) return;
    if (drag.which) this.#emit("edge", { which: drag.which, moment: this.#moment(x) });
    else this.#pan(drag.viewStart - ((x - drag.x) / this.#canvas.clientWidth) * this.#view.span);
  }

  #up(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag || drag.moved) return;
    this.#free = false;
    this.#emit("go", this.#moment(event.offsetX));
  }

  #wheel(event) {
    if (this.#view.start === null) return;
    event.preventDefault();
    const sideways = event.shiftKey ? event.deltaY : event.deltaX;
    if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      this.#pan(this.#view.start + (sideways / this.#canvas.clientWidth) * this.#view.span);
    } else {
      this.zoom(this.#view.span * 1.002 ** event.deltaY, this.#free ? this.#moment(event.offsetX) : this.#facts.date);
    }
  }

  #pan(start) {
    this.#free = true;
    this.#view.start = start;
    this.#emit("look");
    this.#draw();
  }

  #setHover(x) {
    this.#hover = x;
    this.#draw();
  }

  #emit(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
