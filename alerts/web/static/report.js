/** Reporting something: what, where and in a few words; and how the incident stands that became of it. */

import { arrange, clockTime, h } from "./dom.js";
import { apply, onLanguage, pick, switchLanguage, t, tell } from "./i18n.js";
import { CityMap } from "./map.js";
import { getJson, postJson } from "./net.js";
import { LinkState } from "./parts.js";

const $ = (id) => document.getElementById(id);
const HOME = location.pathname.replace(/report\/?$/, "");
const API = `${HOME}api`;
const LOOK_MS = 3_000;
const MAP_RADIUS_M = 20;
const DECIMALS = 6; // 0.1 m
const link = new LinkState();
let news = { name: null, categories: [], reports: [] };
let city;
let radiusM = MAP_RADIUS_M;

// --- where --------------------------------------------------------------------------------------------------------

function put(lon, lat, withinM) {
  $("lon").value = lon.toFixed(DECIMALS);
  $("lat").value = lat.toFixed(DECIMALS);
  radiusM = withinM;
  city?.showSpot(lon, lat, withinM);
}

function typed() {
  const [lon, lat] = [$("lon").valueAsNumber, $("lat").valueAsNumber];
  radiusM = MAP_RADIUS_M;
  if (Number.isFinite(lon) && Number.isFinite(lat)) city?.showSpot(lon, lat, radiusM);
}

function here() {
  const got = ({ coords }) => put(coords.longitude, coords.latitude, Math.ceil(coords.accuracy));
  navigator.geolocation.getCurrentPosition(got, (error) => problem(t("failed", { e: error.message })), { enableHighAccuracy: true });
}

// --- sending ------------------------------------------------------------------------------------------------------

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function send(event) {
  event.preventDefault();
  problem("");
  $("sent").textContent = "";
  $("send").disabled = true;
  try {
    await postJson(`${API}/reports`, {
      category: $("category").value,
      position: { lon_deg: $("lon").valueAsNumber, lat_deg: $("lat").valueAsNumber, radius_m: radiusM },
      text: $("text").value.trim(),
    });
    $("text").value = "";
    $("sent").textContent = t("reportSent");
    await look();
  } catch (error) {
    problem(error.status === 429 ? t("tooMany") : t("failed", { e: error.message }));
  } finally {
    $("send").disabled = false;
  }
}

// --- what became of it --------------------------------------------------------------------------------------------

function card(one) {
  const { incident } = one;
  const state = incident ? tell("state", incident.state) : t(one.taken ? "reportTaken" : "onTheWay");
  return h("li", { class: `card ${incident?.priority ?? "P4"}`, data: { report: one.seq } },
    h("div", { class: "cardbody" },
      h("p", { class: "tags" },
        incident && h("span", { class: "prio" }, incident.priority),
        h("span", { class: `chip ${incident?.state ?? ""}` }, state),
        incident && h("span", { class: `chip stage ${incident.stage}` }, tell("stage", incident.stage)),
        h("span", { class: "age" }, clockTime(one.at_ms))),
      h("strong", {}, pick(one.category_name)),
      one.text && h("q", {}, one.text),
      h("p", { class: "dim" }, incident ? [pick(incident.category_name), pick(incident.place)].join(" · ") : `${one.lon_deg}, ${one.lat_deg}`)));
}

function showCategories() {
  const chosen = $("category").value;
  const domains = Map.groupBy(news.categories, (one) => pick(one.domain));
  $("category").replaceChildren(
    h("option", { value: "" }, t("chooseWhat")),
    ...[...domains].map(([domain, ones]) =>
      h("optgroup", { label: domain }, ...ones.map((one) => h("option", { value: one.key }, pick(one.name))))));
  $("category").value = chosen;
}

function show() {
  document.title = t("reportPageTitle");
  $("name").textContent = pick(news.name);
  $("back").href = HOME;
  arrange($("reports"), news.reports.map(card));
  $("empty").hidden = news.reports.length > 0;
}

async function look() {
  try {
    news = await getJson(`${API}/reports`);
    link.set(true);
    show();
  } catch {
    link.set(false);
  }
}

async function start() {
  apply();
  $("form").addEventListener("submit", send);
  $("here").addEventListener("click", here);
  $("here").hidden = !navigator.geolocation;
  for (const id of ["lon", "lat"]) $(id).addEventListener("input", typed);
  $("lang").addEventListener("click", switchLanguage);
  onLanguage(() => { link.show(); problem(""); $("sent").textContent = ""; showCategories(); show(); });
  const [, places] = await Promise.all([look(), getJson(`${API}/places`)]);
  showCategories();
  city = new CityMap($("spot"), `${API}/places`, places, { onSpot: (lon, lat) => put(lon, lat, MAP_RADIUS_M) });
  setInterval(look, LOOK_MS);
}

start();
