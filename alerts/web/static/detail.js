/** Everything about one case: what was seen, who was told and why, what is due, how long each stage took. */

import { arrange, clockTime, h, span } from "./dom.js";
import { comma, list, pick, t, tell } from "./i18n.js";
import { picture } from "./parts.js";

const $ = (id) => document.getElementById(id);
const HOPS = ["captured", "inferred", "queued", "sent", "ingested", "decided", "matched", "ordered", "stored", "notified"];
/** An alarm of one source alone, of which the neighbours are not told yet. */
const isHeld = (one) => one.general_by_ms !== null;
const RARE = {
  reopen: (one) => !one.is_open,
  investigate: (one) => one.is_open && isHeld(one),
};
const ACTIONS = {
  acknowledge: { key: "A", may: (one) => one.is_open && !one.is_acknowledged },
  investigate: { key: "I", may: (one) => one.is_open && isHeld(one) && one.response !== "investigating" },
  confirm: { key: "C", may: (one) => one.is_open && (one.stage === "pre_alarm" || isHeld(one)) },
  clear: { key: "X", may: (one) => one.is_open && one.stage === "pre_alarm" },
  close: { key: "Z", may: (one) => one.is_open },
  reopen: { key: "", may: (one) => !one.is_open && one.state !== "merged" },
};

export class CaseDetail {
  constructor({ decide, demo }) {
    this.demo = demo;
    this.shownId = null;
    this.pictures = new Map();
    for (const kind of Object.keys(ACTIONS)) $(kind).addEventListener("click", () => decide(kind));
  }

  may(kind, one) {
    return ACTIONS[kind].may(one);
  }

  problem(text) {
    $("problem").textContent = text;
    $("problem").hidden = !text;
  }

  show(one, nowMs) {
    $("pick").hidden = Boolean(one);
    $("case").hidden = !one;
    this.one = one;
    if (!one) return;
    if (this.shownId !== one.incident_id) {
      this.problem("");
      $("detail").scrollTop = 0;
    }
    this.shownId = one.incident_id;
    this.#head(one);
    this.#actions(one);
    this.#pictures(one);
    this.#told(one);
    this.#timeline(one);
    this.#decisions(one);
    this.tick(nowMs);
  }

  #head(one) {
    $("head").className = `head ${one.priority}`;
    $("head").replaceChildren(
      h("p", { class: "tags" },
        h("span", { class: "prio" }, one.priority),
        h("span", { class: `chip stage ${one.stage}` }, tell("stage", one.stage)),
        h("span", { class: `chip ${one.state}` }, tell("state", one.state)),
        one.late && h("span", { class: "chip" }, t("late")),
        h("span", { class: "dim" }, clockTime(one.opened_at_ms))),
      h("h2", {}, pick(one.category_name)),
      h("p", { class: "place" }, pick(one.place)),
      ...(one.assistance ? [h("p", { class: "assistance" }, `${t("assistance")}: ${pick(one.assistance)}`)] : []),
      h("p", { class: "dim" },
        [t("accuracy", { m: Math.round(one.radius_m) }), t("seenTimes", { n: one.count }),
          t("confidence", { p: Math.round(100 * one.confidence) }), one.sources.join(", ")].join(" · ")),
      h("p", { class: "dim basis" }, [
        one.domain.zh && `${t("duty")} ${pick(one.domain)}`,
        one.basis.zh && `${t("leads")} ${pick(one.lead_unit)} · ${pick(one.lead_post)} · ${t("basis")} ${pick(one.basis)}`,
      ].filter(Boolean).join(" · ")),
      h("p", { class: "dim id" }, one.incident_id),
    );
  }

  #actions(one) {
    for (const [kind, { key, may }] of Object.entries(ACTIONS)) {
      const button = $(kind);
      const text = kind === "acknowledge" && one.is_acknowledged ? t("acknowledged") : t(kind);
      button.disabled = !may(one);
      button.replaceChildren(text, ...(key && may(one) ? [h("kbd", { "aria-hidden": "true" }, key)] : []));
      if (key) button.setAttribute("aria-keyshortcuts", key);
      button.hidden = RARE[kind] ? !RARE[kind](one) : !one.is_open && kind !== "acknowledge";
    }
    $("acknowledge").classList.toggle("seen", one.is_acknowledged);
  }

  #pictures(one) {
    const wanted = one.evidence.map((evidence) => {
      if (!this.pictures.has(evidence.evidence_id)) {
        const onOpen = () => this.#enlarge(evidence);
        this.pictures.set(evidence.evidence_id, h("figure", {}, picture("/api", evidence, { onOpen }), h("figcaption", {})));
      }
      const figure = this.pictures.get(evidence.evidence_id);
      const words = [evidence.device_id, clockTime(evidence.captured_at_ms), evidence.redaction === "outside_box" ? t("redacted") : ""];
      figure.querySelector("figcaption").textContent = words.filter(Boolean).join(" · ");
      figure.querySelector("img").alt = `${pick(one.headline)} (${evidence.device_id})`;
      return figure;
    });
    wanted.reverse(); // the newest first
    if (one.evidence_missing) wanted.push(h("p", { class: "dim waiting" }, t("evidenceComing")));
    if (!wanted.length) wanted.push(h("p", { class: "dim" }, t("noEvidence")));
    arrange($("pictures"), wanted);
  }

  #enlarge(evidence) {
    $("large-picture").replaceChildren(picture("/api", evidence));
    $("large").showModal();
  }

  #told(one) {
    const rows = one.tellings.filter((telling) => !telling.seat).map((telling) => this.#telling(telling));
    const seat = one.tellings.filter((telling) => telling.seat);
    if (seat.length) {
      const names = seat.map((telling) => `${pick(telling.person_name)} (${pick(telling.post_name)})`);
      rows.push(h("li", { class: "telling" }, h("span", { class: "level" }, t("commandSeat")), h("span", { class: "seats" }, names.join(comma()))));
    }
    $("told").replaceChildren(...(rows.length ? rows : [h("li", { class: "dim" }, t("nobodyTold"))]));
  }

  #telling(telling) {
    const steps = [
      { kind: telling.sent_ms ? "sent" : "sending", at_ms: telling.sent_ms ?? telling.intended_ms },
      ...telling.marks,
    ];
    const last = telling.answer ?? steps.at(-1).kind;
    return h("li", { class: `telling ${telling.answer ?? ""}` },
      h("span", { class: "level" }, t("step", { n: telling.step })),
      h("div", { class: "person" }, h("strong", {}, pick(telling.person_name)),
        h("span", { title: `${t("looksAfter")} ${list(telling.duties)}` }, pick(telling.post_name))),
      h("span", { class: `chip ${last}` }, tell("mark", last)),
      h("ul", { class: "reasons" },
        ...telling.reasons.map((reason) => h("li", { title: reason.code }, pick(reason.text))),
        telling.beside_duty && h("li", {}, t("besideDuty"))),
      h("p", { class: "marks dim" },
        steps.map((mark) => `${tell("mark", mark.kind)} ${clockTime(mark.at_ms)}${mark.reason ? `: ${mark.reason}` : ""}`).join(" · "),
        this.demo && h("a", { href: `/demo/officer/${encodeURIComponent(telling.person)}`, target: "_blank", rel: "noopener" },
          `${t("openOfficer")} ↗`)),
    );
  }

  /** Each stage as a bar from where the one before ended, in ms; what a person took is told apart. */
  #timeline(one) {
    const times = one.timeline;
    const known = HOPS.filter((hop) => times[`${hop}_ms`] != null);
    const [start, end] = [times[`${known[0]}_ms`], times[`${known.at(-1)}_ms`]];
    const total = Math.max(1, end - start);
    const rows = known.slice(1).map((hop, index) => {
      const [from, to] = [times[`${known[index]}_ms`], times[`${hop}_ms`]];
      const bar = h("i", {});
      bar.style.left = `${(100 * Math.max(0, from - start)) / total}%`;
      bar.style.width = `${Math.max(0.8, (100 * Math.max(0, to - from)) / total)}%`;
      return h("tr", {}, h("th", { scope: "row" }, tell("hop", hop)), h("td", { class: "bars" }, bar), h("td", {}, `${to - from} ms`));
    });
    const acked = times.acked_ms != null && times.notified_ms != null
      && h("p", { class: "dim" }, `${tell("hop", "acked")}: +${span(times.acked_ms - times.notified_ms)}`);
    $("timeline").replaceChildren(
      h("p", { class: "total" }, h("b", {}, `${end - start} ms`), ` ${t("captureToOfficer")}`),
      h("table", {}, h("tbody", {}, ...rows)),
      ...(acked ? [acked] : []),
    );
  }

  #decisions(one) {
    const rows = one.decisions.map((decision) =>
      h("li", {}, h("time", {}, clockTime(decision.at_ms)), ` ${tell("decision", decision.kind)} · ${decision.by === "seat" ? t("commandSeat") : decision.by}`,
        decision.reason && h("q", {}, decision.reason),
        !decision.stored && h("span", { class: "chip" }, t("onTheWay"))));
    $("decisions").replaceChildren(...(rows.length ? rows : [h("li", { class: "dim" }, t("noHistory"))]));
  }

  /** Bring what runs by the second up to date. */
  tick(nowMs) {
    if (!this.one) return;
    const nextLevel = this.one.waits.find((wait) => wait.clock === "step"); // the levels above it can wait
    const shown = this.one.waits.filter((wait) => wait.clock !== "step" || wait === nextLevel);
    const rows = shown.map((wait) => {
      const late = wait.overdue_ms ?? (wait.until_ms < nowMs ? wait.until_ms : null);
      const left = late == null ? t("inTime", { t: span(wait.until_ms - nowMs) }) : t("overdue", { t: span(nowMs - late) });
      return h("li", { class: late == null ? "" : "overdue" },
        h("span", {}, tell("clock", wait.clock)), h("span", { class: "dim" }, list(wait.on)),
        h("b", {}, left));
    });
    $("waits").replaceChildren(...(rows.length ? rows : [h("li", { class: "dim" }, t("nothingDue"))]));
  }
}
