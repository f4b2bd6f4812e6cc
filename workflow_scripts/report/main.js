"use strict";
// Which view is shown, in which colors, and what keys do.
PureLens.main = {
  async route() {
    const { layer, neuron, lens, known, settings } = PureLens.parse(location.hash);
    if (!known) history.replaceState(null, "", "#");
    const name = lens ? "lens" : !known || !layer ? "overview" : neuron === null ? "grid" : "neuron";
    const turn = (this.turn = (this.turn || 0) + 1);
    const late = () => turn !== this.turn; // another view was opened before the data arrived
    const focused = document.activeElement.dataset.switch, from = this.view === "neuron" ? PureLens.neuron.number : null;
    if (name === "grid") await PureLens.grid.show(layer, settings, late);
    if (name === "neuron") await PureLens.neuron.show(layer, neuron, settings, late);
    if (name === "lens") await PureLens.lens.show(lens, settings, late);
    if (late()) return;
    document.getElementById("whole").close();
    for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== name;
    const current = name === "overview" ? "" : lens ? lens.lens.route : layer.route;
    for (const link of document.querySelectorAll("#layers a")) {
      if (link.dataset.route === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = [name === "neuron" ? `neuron ${neuron}` : null, current || null, "PureLens"].filter(Boolean).join(" · ");
    const before = this.view;
    this.view = name;
    if (name === "overview") PureLens.overview.draw();
    if (name === "grid") this.showGrid(layer, from);
    else if (before) this.showTop(name, focused);
    document.documentElement.dataset.view = name;
  },

  /** The grid keeps its scroll position and the focus on the card that was opened. */
  showGrid(layer, from) {
    PureLens.grid.place();
    window.scrollTo(0, this.left === layer.route ? this.scroll : 0);
    PureLens.grid.place();
    if (from !== null && PureLens.grid.wall) PureLens.grid.focusNeuron(from);
  },

  /** Every other view begins at its top, unless a switch was used: it keeps the focus. */
  showTop(name, focused) {
    const view = document.getElementById(name);
    const used = focused === undefined ? null : [...view.querySelectorAll("[data-switch]")].find((link) => link.dataset.switch === focused);
    if (!used) window.scrollTo(0, 0);
    const target = used || view.querySelector("h1[tabindex]");
    if (target) target.focus({ preventScroll: true });
  },

  remembered(value) {
    try {
      if (value !== undefined) localStorage.setItem("purelens-theme", value);
      return localStorage.getItem("purelens-theme");
    } catch {
      return null; // a page inside a frame may not store anything
    }
  },

  theme(value) {
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = value || (dark ? "dark" : "light");
    PureLens.overview.draw();
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName);
    if (event.key === "/" && !typing && this.view === "grid" && PureLens.grid.input) {
      event.preventDefault();
      PureLens.grid.input.focus();
    } else if (this.view === "grid") PureLens.grid.key(event);
    else if (this.view === "neuron" && !typing) PureLens.neuron.key(event);
  },

  start() {
    this.theme(this.remembered());
    document.getElementById("theme").addEventListener("click", () => {
      this.theme(this.remembered(document.documentElement.dataset.theme === "dark" ? "light" : "dark") || "dark");
    });
    window.addEventListener("hashchange", () => this.route());
    window.addEventListener("scroll", () => {
      if (this.view !== "grid" || !PureLens.grid.layer) return;
      [this.left, this.scroll] = [PureLens.grid.layer.route, window.scrollY];
      PureLens.grid.place();
    }, { passive: true });
    window.addEventListener("resize", () => PureLens.grid.place());
    document.addEventListener("keydown", (event) => this.key(event));
    document.getElementById("whole").addEventListener("click", (event) => {
      if (event.target.id === "whole") event.target.close();
    });
    PureLens.overview.pictures();
    PureLens.overview.switches();
    this.route();
  },
};
PureLens.main.start();
