"use strict";
// One neuron: its virtual neurons side by side, their circuits, the map of its references.
PureLens.neuron = {
  async show(layer, number, settings, late) {
    const { h } = PureLens;
    const view = document.getElementById("neuron");
    const whole = await PureLens.load(`${layer.facts.key}/layer`);
    const row = whole ? whole.table.neurons.indexOf(number) : -1;
    const data = row < 0 ? null : await PureLens.load(`${layer.facts.key}/neurons/${number}`);
    if (late()) return;
    const facts = layer.facts;
    // a neuron that was not tested has no split whose number was chosen
    const decided = data && facts.decided && data.clusterings[facts.decided.by][facts.decided.k] ? facts.decided : null;
    Object.assign(this, { layer, number, data, decided, first: decided || { by: facts.method, k: facts.k }, grid: PureLens.grid.settingsOf(settings) });
    const by = facts.methods.includes(settings.by) ? settings.by : this.first.by;
    const k = this.numbers(facts, by).find((number) => String(number) === settings.k) || this.firstNumber(facts, by);
    Object.assign(this, { by, k });
    if (!data) {
      const text = PureLens.inOneFile ? "This file does not hold this neuron; the folder of the report does." : "There is no such neuron.";
      return view.replaceChildren(h("h1", { tabindex: -1 }, `neuron ${number}`), h("p", { class: "lead" }, text, " ", this.up()));
    }
    this.clustering = data.clusterings[by][String(k)];
    const body = await this.body();
    if (!late()) view.replaceChildren(this.title(whole, row), this.switches(), ...body);
  },

  /** The numbers of virtual neurons that a method splits into; one method also chooses it. */
  numbers(facts, by) {
    return this.decided && this.decided.by === by ? [this.decided.k, ...facts.n_clusters] : facts.n_clusters;
  },

  firstNumber(facts, by) {
    return by === this.first.by ? this.first.k : facts.k;
  },

  /** The way back to the grid as it was. */
  up() {
    return PureLens.h("a", { class: "up", href: PureLens.link(this.layer, null, PureLens.grid.asLink(this.grid)) }, this.layer.route);
  },

  /** A link to a neuron of the layer that keeps the settings. */
  to(number, changes) {
    const facts = this.layer.facts;
    const { by, k } = { by: this.by, k: this.k, ...changes };
    const known = this.numbers(facts, by).includes(k) && k !== this.firstNumber(facts, by);
    const settings = { by: by === this.first.by ? "" : by, k: known ? k : "" };
    return PureLens.link(this.layer, number, { ...settings, ...PureLens.grid.asLink(this.grid) });
  },

  title(whole, row) {
    const { h } = PureLens;
    const table = whole.table;
    const order = PureLens.grid.choose(this.layer, whole, this.grid).map((row) => table.neurons[row]);
    const place = order.indexOf(this.number);
    const step = (to, text, label) => h("a", {
      class: "step", "aria-label": label, id: label, href: to === undefined ? null : this.to(to), "aria-disabled": to === undefined ? "true" : null,
    }, text);
    const facts = [
      ["references", whole.lines[row].n], ...this.decision(table, row), ...(typeof this.k === "number" ? this.ofNumber(table, row) : []),
      ...this.scores(),
      [`alignment with ${this.layer.facts.embedders[0]}`, PureLens.number(table.alignment[row], 2)],
    ];
    return h("div", { class: "title" },
      step(order[place - 1], "‹", "previous"), h("h1", { tabindex: -1 }, "neuron ", h("b", {}, String(this.number))), step(order[place + 1], "›", "next"),
      this.up(), h("ul", { class: "numbers" }, facts.map(([name, value]) => h("li", {}, h("b", {}, String(value)), ` ${name}`))));
  },

  /** Measures of a split into a given number. */
  ofNumber(table, row) {
    return [
      ["gap", PureLens.number(this.clustering.gap)], ["silhouette", PureLens.number(this.clustering.silhouette)],
      ["agreement with the splits of half of the references", PureLens.number(this.clustering.stability, 2)],
      ["agreement with splits by other seeds", PureLens.number(this.clustering.seed_stability, 2)],
      ["virtual neurons have the largest silhouette", table.virtual_neurons[row] || "–"],
    ];
  },

  /** Scores of the virtual neurons that no clustering has seen; their gains are those over random divisions of the same sizes. */
  scores() {
    const { monosemanticity_gain: gain, index_gain: index, purity_gain: purity, monosemanticity, selectivity } = this.clustering;
    const known = (value) => value !== undefined && value !== null;
    const signed = (value) => (known(value) ? `${value > 0 ? "+" : ""}${PureLens.number(value, 3)}` : "–");
    return [
      ...(known(monosemanticity) ? [[`MonoSemanticity score${known(gain) ? `, ${signed(gain)} over random divisions` : ""}`, PureLens.number(monosemanticity, 3)]] : []),
      ...(known(index) ? [["interpretability index over random divisions", signed(index)]] : []),
      ...(known(purity) ? [["class purity over random divisions", signed(purity)]] : []),
      ...(known(selectivity) ? [["causal selectivity of its circuits", PureLens.number(selectivity, 3)]] : []),
    ];
  },

  /** Whether the neuron is polysemantic, by the test of its references. */
  decision(table, row) {
    if (!table.p_value) return [];
    if (table.p_value[row] === null) return [["too few references to be tested", ""]];
    const text = table.polysemantic[row] ? `polysemantic, ${table.parts[row]} virtual neurons` : "not polysemantic";
    return [[`(p = ${table.p_value[row]})`, text]];
  },

  switches() {
    const { h } = PureLens;
    const link = (text, changes, on) => h("a", { href: this.to(this.number, changes), "data-switch": text, "aria-current": on ? "true" : null }, text);
    return h("div", { class: "switches" },
      h("span", { class: "switch", role: "group", "aria-label": "split by" }, h("span", {}, "split by"),
        this.layer.facts.methods.map((method) => link(PureLens.methodName(method), { by: method }, method === this.by))),
      h("span", { class: "switch", role: "group", "aria-label": "into" }, h("span", {}, "into"),
        this.numbers(this.layer.facts, this.by).map((k) => link(typeof k === "number" ? String(k) : "as many as it has", { k }, k === this.k))));
  },

  async body() {
    const { h } = PureLens;
    if (!this.data.images.length) return [h("p", { class: "lead" }, "This neuron is dead: no image of the dataset activates it.")];
    const facts = this.layer.facts, lowerName = this.clustering.lower;
    const lower = PureLens.facts.layers.find(({ facts: other }) =>
      other.dataset === facts.dataset && other.model === facts.model && other.layer === lowerName) || null;
    this.lower = { name: lowerName, layer: lower, data: lower ? await PureLens.load(`${lower.facts.key}/layer`) : null };
    const missing = lower ? null : h("p", { class: "note" }, `The patches of ${lowerName} are not shown: it is not one of the layers of this study.`);
    return [
      h("div", { class: "columns", style: { "--columns": this.clustering.virtual_neurons.length } }, this.clustering.virtual_neurons.map((virtual, i) => this.virtualNeuron(virtual, i))),
      ...(missing ? [missing] : []),
      ...(this.data.words.length ? [this.words()] : []),
      h("div", { class: "below" },
        h("section", { class: "card" }, h("h2", {}, "Its references: close to each other where their circuits are similar"), this.map()),
        h("section", { class: "card" }, h("h2", {}, `Discriminative neurons of ${lowerName}`), this.discriminative())),
    ];
  },

  /** The explanations of the neuron and, where the split they are made for is shown, of its virtual neurons, with their scores. */
  words() {
    const { h } = PureLens;
    const { method, k } = this.layer.facts;
    const made = this.by === method && this.k === k;
    const rows = this.data.words.filter((row) => made || row.virtual_neuron === null);
    const elsewhere = rows.length === this.data.words.length ? null : h("p", { class: "note" }, "Virtual neurons have words where they are ",
      h("a", { href: this.to(this.number, { by: method, k }) }, `split by ${PureLens.methodName(method)} into ${k}`), ".");
    const row = ({ method, virtual_neuron: virtual, words, correlation, auprc, sum_correlation: sum }) => h("tr", {},
      h("td", {}, PureLens.wordsName(method)),
      h("td", {}, virtual === null ? "whole" : h("b", { class: `key c${virtual % 8}` }, `${this.number}.${virtual + 1}`)),
      h("td", {}, words.map(([name, weight]) => PureLens.name(name, words.length > 1 || weight !== 1 ? ` ${PureLens.number(weight)}` : ""))),
      h("td", {}, PureLens.number(correlation, 2), sum === null ? "" : h("small", { class: "sum" }, ` sum ${PureLens.number(sum, 2)}`)),
      h("td", {}, PureLens.number(auprc, 2)));
    return h("section", { class: "card" }, h("h2", {}, "In words"),
      h("p", { class: "note" }, "Scores on test images: Pearson correlation of the activation with what the words predict, and average precision of finding the most active images (AUPRC). Sum: the predictions for the virtual neurons, added up, against the whole neuron."),
      h("table", { class: "words" }, h("thead", {}, h("tr", {}, ["method", "unit", "concepts and weights", "correlation", "AUPRC"].map((name) => h("th", {}, name)))),
        h("tbody", {}, rows.map(row))), ...(elsewhere ? [elsewhere] : []));
  },

  virtualNeuron(number, i) {
    const { h } = PureLens;
    const members = this.data.images.map((_, index) => index).filter((index) => this.clustering.label[index] === number);
    const names = new Map();
    for (const index of members) {
      const name = PureLens.className(this.layer.facts, this.data.classes[index]);
      if (name) names.set(name, (names.get(name) || 0) + 1);
    }
    const classes = [...names].sort((a, b) => b[1] - a[1]).slice(0, 4);
    return h("section", { class: `card virtual c${number % 8}` },
      h("h2", {}, h("b", {}, `${this.number}.${number + 1}`), h("small", {}, ` ${members.length} of ${this.data.images.length} references (${PureLens.percent(members.length / this.data.images.length)})`)),
      h("p", { class: "classes" }, classes.map(([name, n]) => PureLens.name(name, ` ${n}`))),
      h("div", { class: "patches" }, this.data.shown.flatMap((shown, place) =>
        this.clustering.label[shown.index] === number ? [this.patch(place, "")] : [])),
      h("h3", {}, `its circuit in ${this.clustering.lower}`),
      this.bars(this.clustering.circuits[i]));
  },

  patch(place, extra, style) {
    const shown = this.data.shown[place];
    const label = `${PureLens.className(this.layer.facts, this.data.classes[shown.index])} ${shown.path}, activation ${PureLens.number(this.data.values[shown.index])}`;
    const patch = PureLens.patch(this.layer, this.number, this.data.shown.length, place,
      { class: extra, type: "button", title: label, "aria-label": label, onclick: () => this.whole(place) });
    for (const [name, value] of Object.entries(style || {})) patch.style.setProperty(name, value);
    return patch;
  },

  /** A lower neuron: a link with its patches, where its layer is part of the study. */
  lowerNeuron(number) {
    const { h } = PureLens;
    const row = this.lower.data ? this.lower.data.table.neurons.indexOf(number) : -1;
    if (row < 0) return h("span", { class: "lower" }, String(number));
    const url = this.lower.data.lines[row].n ? PureLens.url(`${this.lower.layer.facts.key}/neurons/${number}.jpg`) : null;
    return h("a", { class: "lower", href: PureLens.link(this.lower.layer, number) }, h("span", {}, String(number)),
      url ? h("img", { src: url, alt: "" }) : null);
  },

  bars(circuit) {
    const { h } = PureLens;
    const most = Math.max(...this.clustering.circuits.flat().map(([, value]) => Math.abs(value)), 1e-12); // of all circuits, so that they can be compared
    return h("ol", { class: `bars ${this.lower.layer ? "" : "bare"}` }, circuit.map(([number, value]) =>
      h("li", {}, this.lowerNeuron(number), h("span", { class: "bar-of" },
        h("i", { class: value < 0 ? "minus" : "plus", style: { width: `${(50 * Math.abs(value)) / most}%` } })),
        h("span", { class: "value" }, PureLens.number(value, 2)))));
  },

  discriminative() {
    const { h } = PureLens;
    const rows = this.clustering.discriminative;
    if (!rows.length) return h("p", { class: "note" }, "There is only one virtual neuron.");
    const most = Math.max(...rows.flatMap(([, ...values]) => values.map(Math.abs)), 1e-12);
    return h("ol", { class: `bars discriminative ${this.lower.layer ? "" : "bare"}` }, rows.map(([number, ...values]) =>
      h("li", {}, this.lowerNeuron(number), h("span", { class: "stack" }, values.map((value, i) =>
        h("span", { class: "bar-of" }, h("i", {
          class: `${value < 0 ? "minus" : "plus"} c${this.clustering.virtual_neurons[i] % 8}`, style: { width: `${(50 * Math.abs(value)) / most}%` },
          title: `${this.number}.${this.clustering.virtual_neurons[i] + 1}: ${PureLens.number(value)}`,
        })))))));
  },

  map() {
    const { h } = PureLens;
    const places = new Map(this.data.shown.map((shown, place) => [shown.index, place]));
    const at = ([x, y]) => ({
      left: `${5 + 90 * x}%`, top: `${5 + 90 * (1 - y)}%`, "--x": `${100 * x}%`, "--y": `${100 * (1 - y)}%`, // patches grow towards the middle
    });
    const color = (index) => (this.clustering.label[index] < 0 ? "cnone" : `c${this.clustering.label[index] % 8}`);
    const dots = this.data.points.map((point, index) => places.has(index) ? null : h("span", {
      class: `dot ${color(index)}`, style: at(point),
      title: `${PureLens.className(this.layer.facts, this.data.classes[index])} image ${this.data.images[index]}`,
    }));
    const patches = this.data.shown.map((shown, place) => this.patch(place, `point ${color(shown.index)}`, at(shown.place)));
    const n = this.data.points.length, note = n > patches.length ? `${patches.length} of ${n} are shown as patches` : "";
    return h("div", {}, h("div", { class: "map" }, dots, patches), h("p", { class: "note" }, note));
  },

  /** The whole image with the heatmap over it. */
  whole(place) {
    const { h } = PureLens;
    const shown = this.data.shown[place], [top, left, bottom, right] = shown.box, side = this.data.side;
    const canvas = PureLens.heatmap(shown.heat, this.data.heat_side, this.data.heat_side);
    const frame = h("i", { class: "frame", style: {
      left: `${(100 * left) / side}%`, top: `${(100 * top) / side}%`, width: `${(100 * (right - left)) / side}%`, height: `${(100 * (bottom - top)) / side}%`,
    } });
    const dialog = document.getElementById("whole");
    const url = PureLens.url(`${this.layer.facts.key}/images/${this.data.images[shown.index]}.jpg`);
    const heat = h("input", { type: "checkbox", checked: true, onchange: (event) => { canvas.hidden = !event.target.checked; } });
    const name = PureLens.className(this.layer.facts, this.data.classes[shown.index]);
    dialog.replaceChildren(
      h("div", { class: "image" }, url ? h("img", { src: url, alt: "" }) : null, canvas, frame),
      url ? "" : h("p", { class: "note" }, "The image itself is in the folder of the report."),
      h("p", {}, h("b", {}, h("bdi", {}, name)), " ", h("bdi", {}, shown.path)),
      h("p", {}, `activation ${PureLens.number(this.data.values[shown.index])} `, h("label", {}, heat, " relevance"), " ",
        h("button", { type: "button", onclick: () => dialog.close() }, "Close")));
    dialog.showModal();
  },

  /** Left and right go to the neighbors in the grid. */
  key(event) {
    if (document.getElementById("whole").open) return;
    const target = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    const link = target && document.getElementById(target);
    if (link && link.href) location.hash = new URL(link.href).hash;
    if (event.key === "Escape") location.hash = new URL(this.up().href).hash;
  },
};
