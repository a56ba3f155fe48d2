/** What both pages show: pictures with the box, the state of the link, the question for a reason. */

import { h } from "./dom.js";
import { choices, t } from "./i18n.js";

/** An evidence picture with the box of what was seen drawn over it. */
export function picture(base, evidence, { onOpen, label } = {}) {
  const image = h("img", { src: `${base}/evidence/${encodeURIComponent(evidence.evidence_id)}`, alt: label ?? "" });
  const frame = h("div", { class: "frame" }, image);
  if (evidence.box) {
    const [x1, y1, x2, y2] = evidence.box;
    const box = h("div", { class: "box" });
    box.style.left = `${100 * x1}%`;
    box.style.top = `${100 * y1}%`;
    box.style.width = `${100 * (x2 - x1)}%`;
    box.style.height = `${100 * (y2 - y1)}%`;
    frame.append(box);
  }
  if (!onOpen) return frame;
  return h("button", { type: "button", class: "picture", "aria-label": t("enlarge"), onclick: onOpen }, frame);
}

/** Ask for a reason; resolves to it, or to null for "back". */
export function askReason(kind, title) {
  const [dialog, input] = [document.getElementById("why"), document.getElementById("why-text")];
  document.getElementById("why-title").textContent = title;
  input.value = "";
  document.getElementById("why-choices").replaceChildren(
    ...choices(kind).map((text) =>
      h("button", { type: "button", class: "choice", onclick: () => { input.value = text; dialog.close("ok"); } }, text),
    ),
  );
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "ok" && input.value.trim() ? input.value.trim() : null),
      { once: true },
    );
  });
}

/** The indicator in the bar and, when the feed is stale, a band that cannot be overlooked. */
export class LinkState {
  constructor() {
    this.live = null;
    this.lostMs = null;
    this.brokerUp = true;
    this.show();
    setInterval(() => this.show(), 1_000);
  }

  set(live) {
    if (live === this.live) return;
    this.live = live;
    this.lostMs = live ? null : performance.now();
    this.show();
  }

  /** The service answers, but does anything reach it? */
  setBroker(isUp) {
    this.brokerUp = isUp;
    this.show();
  }

  /** Devices whose canaries no longer arrive: an alarm of theirs would not arrive either. */
  setSilent(devices) {
    this.silent = devices;
    this.show();
  }

  show() {
    const [label, band] = [document.getElementById("link"), document.getElementById("stale")];
    label.dataset.state = this.live == null ? "wait" : this.live ? "live" : "lost";
    const seconds = this.lostMs == null ? 0 : Math.round((performance.now() - this.lostMs) / 1000);
    const text = this.live == null ? t("connecting") : this.live ? t("live") : t("staleSince", { s: seconds });
    if (label.textContent !== text) label.textContent = text;
    const silent = this.silent?.length ? t("silent", { devices: this.silent.slice(0, 5).join(", "), n: this.silent.length }) : "";
    const alarm = this.live === false ? t("stale") : this.brokerUp ? silent : t("deaf");
    band.hidden = !alarm;
    if (band.textContent !== alarm) band.textContent = alarm;
    document.body.classList.toggle("is-stale", this.live === false);
  }
}
