/** The city as it lies in the config, the part of it that is in view: no tiles, no other server. */

/* global L */
import { h, span } from "./dom.js";
import { pick, t } from "./i18n.js";
import { getJson } from "./net.js";

const STYLE = {
  area: { color: "#3d5672", weight: 2, fillColor: "#15202e", fillOpacity: 0.85 },
  cell: { color: "#31465f", weight: 1, fillColor: "#15202e", fillOpacity: 0.85 },
  exclusive: { color: "#7a5ea8", weight: 1.5, dashArray: "5 4", fillColor: "#33264a", fillOpacity: 0.35 },
  street: { color: "#6d86a3", weight: 5, opacity: 0.75 },
  road: { color: "#56708f", weight: 3, opacity: 0.75 },
  lane: { color: "#435b78", weight: 1.5, opacity: 0.8 },
  node: { color: "#44607f", weight: 1, fillColor: "#27394f", fillOpacity: 0.9 },
};
const ANSWERS = { accepted: "#35d07f", declined: "#7d8896", none: "#35b6ff" };
export const PRIORITY = { P1: "#ff4d57", P2: "#ffa024", P3: "#4fb0ff", P4: "#9aa7b6" };
const DEVICE = { live: "#35d0c8", silent: "#ff4d57", unknown: "#b9c6d6" };
const SILENT_MS = 60_000; // a camera says something every 15 s
const EARTH_M = 6_378_137;
const REST_MS = 150; // who moves the map is not asked for before he rests
const AROUND = 0.5; // so much of the view is drawn beyond each side
const FINER = 3; // so much narrower than what was drawn, and that is too coarse
const MOST_CODES = 400;

const turn = ([lon, lat]) => [lat, lon];

/** What two boxes have in common. */
const common = (a, b) =>
  L.latLngBounds(
    [Math.max(a.getSouth(), b.getSouth()), Math.max(a.getWest(), b.getWest())],
    [Math.min(a.getNorth(), b.getNorth()), Math.min(a.getEast(), b.getEast())],
  );

/** The sector that a camera sees, as a polygon of [lat, lon]. */
function sector([lon, lat], heading, fov, range) {
  const points = [[lat, lon]];
  for (let i = 0; i <= 12; i += 1) {
    const bearing = ((heading - fov / 2 + (fov * i) / 12) * Math.PI) / 180;
    const north = (range * Math.cos(bearing)) / EARTH_M;
    const east = (range * Math.sin(bearing)) / (EARTH_M * Math.cos((lat * Math.PI) / 180));
    points.push([lat + (north * 180) / Math.PI, lon + (east * 180) / Math.PI]);
  }
  return points;
}

export class CityMap {
  /** `source` gives the map of a box, or of some codes; `city` is what it gave of the whole. */
  constructor(element, source, city, { controls = true, onPick, onSpot } = {}) {
    this.element = element;
    this.source = source;
    this.onPick = onPick;
    this.shapes = new Map();
    this.named = new Map(); // places that were asked for by their code, in view or not
    this.cameras = new Map();
    this.words = new Map(); // what the tooltip of a device says about its health
    if (typeof L === "undefined") {
      element.replaceChildren(h("p", { class: "empty" }, t("mapMissing")));
      return;
    }
    this.map = L.map(element, {
      attributionControl: false, zoomControl: false, zoomSnap: 0.25, maxZoom: 21, minZoom: 5,
      preferCanvas: true, keyboard: controls, scrollWheelZoom: controls, dragging: controls || !L.Browser.mobile,
    });
    if (controls) L.control.zoom({ position: "topright" }).addTo(this.map);
    this.map.setView([0, 0], 15); // a canvas takes no shape before the map has a view
    this.base = L.featureGroup().addTo(this.map);
    this.scopes = L.featureGroup().addTo(this.map);
    this.incidents = L.featureGroup().addTo(this.map);
    this.spot = L.featureGroup().addTo(this.map);
    const [west, south, east, north] = city.whole;
    this.bounds = city.whole.length ? L.latLngBounds([[south, west], [north, east]]) : null;
    this.#show(city, this.bounds);
    if (onSpot) this.map.on("click", ({ latlng }) => onSpot(latlng.lng, latlng.lat));
    this.whole();
    this.map.on("moveend", () => {
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.#follow(), REST_MS);
    });
    this.map.on("unload", () => {
      clearTimeout(this.resting);
      this.asked = this.told = this.focused = null; // what is still on its way comes too late
    });
  }

  /** Draw what the service gave of a box, below all else. */
  #show(geojson, box) {
    this.drawn = { box, complete: geojson.complete };
    this.base.clearLayers();
    this.shapes.clear();
    this.cameras.clear();
    this.isFar = geojson.features.some((feature) => feature.properties.layer === "area");
    for (const feature of geojson.features) this.#draw(feature);
    if (this.health) this.showHealth(this.health);
    for (const group of [this.scopes, this.spot, this.incidents]) group.bringToFront();
    this.element.dataset.drawn = this.shapes.size;
  }

  /** Ask for what has come into view, or is seen from so near now that there is more of it. */
  async #follow() {
    const { box, complete } = this.drawn;
    const view = this.map.getBounds();
    if (complete || !this.bounds?.intersects(view)) return;
    const width = (of) => of.getEast() - of.getWest();
    if (box.contains(common(view, this.bounds)) && width(box) <= FINER * width(view)) return;
    const wanted = view.pad(AROUND);
    const asked = (this.asked = {});
    try {
      const geojson = await getJson(`${this.source}?bbox=${encodeURIComponent(wanted.toBBoxString())}`);
      if (this.asked === asked) this.#show(geojson, wanted);
    } catch {
      // What was drawn stays; the next move asks again.
    }
  }

  /** Get the places of these codes that are not known yet. */
  async #learn(codes) {
    const missing = [...new Set(codes)].filter((code) => !this.shapes.has(code) && !this.named.has(code));
    if (missing.length && !this.drawn.complete) this.learning = Promise.all([this.learning, this.#askFor(missing)]);
    await this.learning;
  }

  async #askFor(missing) {
    for (const code of missing) this.named.set(code, null); // asked once: some codes are of areas
    try {
      const path = `${this.source}?codes=${encodeURIComponent(missing.slice(0, MOST_CODES).join(","))}`;
      for (const feature of (await getJson(path)).features) this.named.set(feature.properties.code, this.#shaped(feature));
    } catch {
      for (const code of missing) this.named.delete(code);
    }
  }

  #known(code) {
    return this.named.get(code) ?? this.shapes.get(code);
  }

  /** Mark the place that was picked, and how exact it is. */
  showSpot(lon, lat, radiusM) {
    if (!this.map) return;
    this.spot.clearLayers();
    L.circle([lat, lon], { radius: radiusM, color: PRIORITY.P2, weight: 1, fillOpacity: 0.2, interactive: false }).addTo(this.spot);
    L.circleMarker([lat, lon], { radius: 6, color: "#0b1017", weight: 2, fillColor: PRIORITY.P2, fillOpacity: 1, interactive: false }).addTo(this.spot);
    if (!this.map.getBounds().contains([lat, lon])) this.map.setView([lat, lon]);
  }

  #draw({ geometry, properties: p }) {
    if (p.layer === "device") {
      this.#drawDevice(turn(geometry.coordinates), geometry.coordinates, p);
      return;
    }
    const known = this.#shaped({ geometry, properties: p });
    if (p.layer !== "line") known.shape.bindTooltip(() => pick(p), { sticky: true, className: "tip" });
    this.base.addLayer(known.shape);
    this.shapes.set(p.code, known);
  }

  #shaped({ geometry, properties: p }) {
    const kind = p.layer === "cell" && p.kind === "exclusive" ? "exclusive" : p.layer === "line" ? p.kind : p.layer;
    const style = { ...STYLE[kind], interactive: p.layer !== "line" };
    if (this.isFar) style.weight /= 2;
    const shape = p.layer === "line"
      ? L.polyline(geometry.coordinates.map(turn), style)
      : L.polygon(geometry.coordinates.map((polygon) => polygon.map((ring) => ring.map(turn))), style);
    return { shape, name: p };
  }

  #drawDevice(at, lonLat, p) {
    if (p.kind === "agent") return;
    if (p.kind === "camera" && p.fov_deg) {
      const view = sector(lonLat, p.heading_deg ?? 0, p.fov_deg, p.range_m ?? 30);
      L.polygon(view, { stroke: false, fillColor: "#35d0c8", fillOpacity: 0.16, interactive: false }).addTo(this.base);
    }
    const mark = L.circleMarker(at, { radius: p.kind === "camera" ? 5 : 3.5, color: "#0b1017", weight: 1.5, fillColor: DEVICE.unknown, fillOpacity: 1 });
    mark.bindTooltip(() => [pick(p), p.code, this.words.get(p.code)].filter(Boolean).join(" · "), { className: "tip" });
    mark.addTo(this.base);
    if (p.kind === "camera") this.cameras.set(p.code, mark);
  }

  whole() {
    if (this.bounds) this.map.fitBounds(this.bounds, { padding: [12, 12] });
  }

  resized() {
    this.map?.invalidateSize();
  }

  /** Draw open incidents; the selected one larger. */
  showIncidents(cases, selectedId) {
    if (!this.map) return;
    this.incidents.clearLayers();
    for (const one of cases) {
      const at = [one.lat_deg, one.lon_deg];
      const color = PRIORITY[one.priority];
      L.circle(at, { radius: one.radius_m, color, weight: 1, fillColor: color, fillOpacity: 0.18, interactive: false }).addTo(this.incidents);
      const classes = `pin ${one.priority}${one.incident_id === selectedId ? " chosen" : ""}${one.is_acknowledged ? "" : " ringing"}`;
      const icon = L.divIcon({ className: classes, html: h("span", {}, one.priority), iconSize: [34, 34] });
      const marker = L.marker(at, { icon, keyboard: false, zIndexOffset: one.incident_id === selectedId ? 1000 : 0 });
      if (this.onPick) marker.on("click", () => this.onPick(one.incident_id));
      marker.addTo(this.incidents);
    }
  }

  /** Draw the posts that were told at the places they answer for: never at where a person is. */
  async showScopes(tellings) {
    if (!this.map) return;
    const shown = (this.told = {});
    await this.#learn(tellings.flatMap((telling) => telling.scope));
    if (this.told !== shown) return; // another case was chosen meanwhile
    this.scopes.clearLayers();
    const byPlace = new Map();
    for (const telling of tellings) {
      for (const code of telling.scope) byPlace.set(code, [...(byPlace.get(code) ?? []), telling]);
    }
    for (const [code, told] of byPlace) this.#outline(code, told);
  }

  /** Outline one place in the colour of the best answer from there, and name who gave it. */
  #outline(code, told) {
    const known = this.#known(code);
    if (!known) return;
    const best = (answer) => told.find((telling) => (telling.answer ?? "none") === answer);
    const telling = best("accepted") ?? best("none") ?? told.at(-1);
    const color = ANSWERS[telling.answer ?? "none"];
    const style = { color, weight: 3, opacity: 0.95, fill: telling.step === 0, fillColor: color, fillOpacity: 0.1, interactive: false };
    const latLngs = known.shape.getLatLngs();
    const outline = known.shape instanceof L.Polygon ? L.polygon(latLngs, style) : L.polyline(latLngs, { ...style, weight: 6, opacity: 0.5 });
    outline.addTo(this.scopes);
    // Above the place, where it covers neither the incident nor the camera.
    const bounds = known.shape.getBounds();
    const label = `${pick(telling.post_name)} · ${pick(telling.person_name)}`;
    L.tooltip({ permanent: true, direction: "top", className: `who ${telling.answer ?? "told"}`, interactive: false })
      .setLatLng([bounds.getNorth(), bounds.getCenter().lng])
      .setContent(label)
      .addTo(this.scopes);
  }

  /** Colour the cameras by whether they are heard. */
  showHealth(health) {
    this.health = health;
    const { now_ms: nowMs, devices } = health;
    const heard = new Map(devices.map((device) => [device.device_id, device]));
    for (const [code, mark] of this.cameras) {
      const device = heard.get(code);
      const age = device?.heard_ms == null ? null : nowMs - device.heard_ms;
      const state = age == null ? "unknown" : age > SILENT_MS ? "silent" : "live";
      mark.setStyle({ fillColor: DEVICE[state] });
      const words = { unknown: () => t("neverHeard"), silent: () => t("silent", { t: span(age) }), live: () => `${device.fps?.toFixed(1)} fps` };
      this.words.set(code, words[state]());
    }
  }

  /** Bring an incident into view, with the places whose posts were told. */
  async focus(one, tellings = []) {
    if (!this.map) return;
    const focused = (this.focused = {});
    const codes = tellings.flatMap((telling) => telling.scope);
    await this.#learn(codes);
    if (this.focused !== focused) return;
    const bounds = L.latLngBounds([[one.lat_deg, one.lon_deg]]);
    for (const code of codes) {
      const known = this.#known(code);
      if (known && known.name.layer !== "line") bounds.extend(known.shape.getBounds());
    }
    this.map.fitBounds(bounds, { maxZoom: 18, paddingTopLeft: [20, 60], paddingBottomRight: [20, 20], animate: false });
  }
}
