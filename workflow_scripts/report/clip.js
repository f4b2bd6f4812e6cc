"use strict";
// A CLIP: its blocks, the directions of its neurons in words, and the concepts of its images.
PureLens.lens = {
  CARDS: 60,
  SORTS: { length: "largest effect", explained: "explained variance", cosine_similarity: "cosine similarity of words and direction", directions: "number of directions", number: "number" },

  /** The CLIP that a path names, with a block, a neuron or an image of it. */
  parse(name) {
    const lenses = PureLens.facts.lenses.filter(({ route }) => name === route || name.startsWith(route + "/"));
    const lens = lenses.sort((a, b) => b.route.length - a.route.length)[0];
    if (!lens) return null;
    const rest = name.slice(lens.route.length);
    const neuron = /^\/(\d+)\/neuron\/(\d+)$/.exec(rest), image = /^\/image\/(\d+)$/.exec(rest), block = /^\/(\d+)$/.exec(rest);
    if (neuron) return { lens, block: Number(neuron[1]), neuron: Number(neuron[2]) };
    if (image) return { lens, image: Number(image[1]) };
    return rest && !block ? null : { lens, block: block ? Number(block[1]) : null };
  },

  async show({ lens, block, neuron, image }, settings, late) {
    const { h } = PureLens;
    const view = document.getElementById("lens");
    const data = await PureLens.load(`${lens.key}/lens`);
    if (late()) return;
    this.lens = lens;
    this.data = data;
    if (!data) return view.replaceChildren(h("h1", { tabindex: -1 }, lens.embedder), h("p", { class: "lead" }, "The folder of the report (index.html) holds this CLIP."));
    this.block = block === null || block === undefined ? data.blocks[0] : data.blocks.find((facts) => facts.block === block);
    if (!this.block) return view.replaceChildren(h("h1", { tabindex: -1 }, lens.embedder), h("p", { class: "lead" }, "There is no such block. ", h("a", { class: "up", href: this.link() }, lens.route)));
    const body = image !== undefined ? await this.image(image) : neuron !== undefined ? await this.neuron(neuron) : this.all(settings);
    if (!late()) view.replaceChildren(...body);
  },

  link(...parts) {
    return `#${[this.lens.route, ...parts].join("/")}`;
  },

  picture(image, attributes) {
    const { h } = PureLens;
    return h("a", { class: "picture", href: this.link("image", image), ...attributes },
      h("img", { src: PureLens.url(`${this.lens.key}/pictures/${image}.jpg`), alt: `image ${image}`, loading: "lazy" }));
  },

  words(words, most = Infinity) {
    return PureLens.h("span", { class: "words" }, words.slice(0, most).map(([name, weight]) => PureLens.name(name, ` ${PureLens.number(weight, 2)}`)));
  },

  table(heads, rows) {
    const { h } = PureLens;
    return h("table", { class: "figures" }, h("thead", {}, h("tr", {}, heads.map((text) => h("th", {}, text)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell === null || cell === undefined ? "" : cell))))));
  },

  interval(value, low, high, digits = 1) {
    const { h } = PureLens;
    if (value === null || value === undefined) return "";
    return h("span", {}, value.toFixed(digits), low === null ? "" : h("small", {}, ` ${low.toFixed(digits)} to ${high.toFixed(digits)}`));
  },

  /** All neurons of a block. */
  all(settings) {
    const { h } = PureLens;
    const facts = this.block, sort = settings.sort in this.SORTS ? settings.sort : "length";
    this.input = h("input", { type: "search", placeholder: "number or word", "aria-label": "search", value: settings.q || "" });
    this.sort = PureLens.grid.select(this.SORTS, sort, "sort by");
    this.count = h("span", { class: "count", role: "status" });
    this.wall = h("div", { class: "lens-wall", role: "list" });
    this.shown = this.CARDS;
    this.more = h("button", { type: "button", onclick: () => { this.shown *= 2; this.update(); } }, "more");
    for (const element of [this.input, this.sort]) element.addEventListener("input", () => { this.shown = this.CARDS; this.update(true); });
    this.update();
    return [
      h("h1", { tabindex: -1 }, `Second-order effects of ${this.data.embedder}`, h("small", {}, ` ${this.data.dataset}`)),
      h("p", { class: "lead" }, "The second-order effect of a neuron is what it adds to the image embedding through the attention of later blocks. Each neuron is shown with its direction, as a sum of texts, and the images with its largest effects."),
      h("div", { class: "switches" }, h("span", { class: "switch", role: "group", "aria-label": "block" }, h("span", {}, "block"),
        this.data.blocks.map(({ block }) => h("a", { href: this.link(block), "aria-current": block === facts.block ? "true" : null }, String(block))))),
      this.figures(), h("div", { class: "tools" }, this.input, h("label", {}, "sorted by ", this.sort), this.count), this.wall, this.more,
    ];
  },

  figures() {
    const { h } = PureLens;
    const { replacements, completeness } = this.block, { segmentation, attacks } = this.data;
    const sections = [];
    if (replacements.length) {
      sections.push(h("h3", {}, "zero-shot accuracy (%) when effects are replaced"), this.table(["replacement", "accuracy", "change"], replacements.map((row) =>
        [row.what, this.interval(row.accuracy, row.low, row.high), row.replacement === "none" ? "" : this.interval(row.change, row.change_low, row.change_high)])));
    }
    if (segmentation.length) {
      const rows = [...new Set(segmentation.map(({ method }) => method))].map((method) => segmentation.filter((row) => row.method === method));
      sections.push(h("h3", {}, "zero-shot segmentation (%)"), this.table(["method", ...rows[0].map(({ quantity }) => quantity.replaceAll("_", " ").replace("iou", "IoU"))],
        rows.map((row) => [row[0].what, ...row.map(({ value, low, high }) => this.interval(value, low, high))])));
    }
    sections.push(...attacks.flatMap((attack) => this.attack(attack)));
    const exact = completeness === null ? "" : `The effects of all neurons sum to the output of the attentions, with a relative error of ${completeness.toExponential(0)}.`;
    return h("details", { class: "card", open: true }, h("summary", {}, `How much these directions explain. ${exact}`), sections);
  },

  /** Words that mislead the CLIP, prompts with them, and the share of images that it takes for the target class. */
  attack({ source_class: source, target_class: target, lens, random, prompts, images }) {
    const { h } = PureLens;
    const kinds = { given: "images of the study", lens: "drawn from prompts with these words", random: "drawn from prompts with words of random neurons" };
    return [
      h("h3", {}, "words that make ", h("bdi", {}, source), " look like ", h("bdi", {}, target)),
      h("p", {}, lens.length ? this.words(lens, 12) : "No word of the neurons with the largest effects does."),
      random.length ? h("p", { class: "note" }, "of random neurons: ", this.words(random, 6)) : "",
      prompts.length ? h("ul", { class: "note" }, prompts.map((text) => h("li", {}, h("bdi", {}, text)))) : "",
      images.length ? this.table(["images", "how many", `taken for ${target} (%)`], images.map((row) =>
        [kinds[row.kind], String(row.n_images), this.interval(row.share, row.low, row.high)])) : "",
    ];
  },

  /** Filter and sort the neurons; returns their rows. */
  rows() {
    const { words, ...columns } = this.block, q = this.input.value.trim().toLowerCase();
    const all = columns.explained.map((_, row) => row);
    const matching = all.filter((row) => !q || String(row) === q || words[row].some(([word]) => word.toLowerCase().includes(q)));
    const by = this.sort.value;
    return by === "number" ? matching : matching.sort((a, b) => (columns[by][b] ?? -1) - (columns[by][a] ?? -1) || a - b);
  },

  update(changed) {
    const { h } = PureLens;
    const rows = this.rows(), facts = this.block;
    if (changed) {
      const query = new URLSearchParams(Object.entries({ q: this.input.value.trim(), sort: this.sort.value === "length" ? "" : this.sort.value }).filter(([, v]) => v)).toString();
      history.replaceState(null, "", `${this.link(facts.block)}${query ? "?" + query : ""}`);
    }
    this.count.textContent = `${rows.length} of ${facts.explained.length} neurons`;
    this.more.hidden = rows.length <= this.shown;
    this.wall.replaceChildren(...rows.slice(0, this.shown).map((row) => h("a", { class: "neuron", role: "listitem", href: this.link(facts.block, "neuron", row) },
      h("span", { class: "head" }, h("b", {}, String(row)), h("span", {}, facts.explained[row] === null ? "no effect" : PureLens.percent(facts.explained[row]) + (facts.directions[row] > 1 ? ` · ${facts.directions[row]} directions` : ""))),
      h("span", { class: "row" }, facts.images[row].map((image) => h("img", { src: PureLens.url(`${this.lens.key}/pictures/${image}.jpg`), alt: "", loading: "lazy" }))),
      h("span", { class: "what" }, this.words(facts.words[row])))));
  },

  async neuron(number) {
    const { h } = PureLens;
    const { block, per_file: size, explained } = this.block, { key } = this.lens;
    const rows = number < explained.length ? await PureLens.load(`${key}/neurons/${block}-${Math.floor(number / size)}`) : null;
    const up = h("a", { class: "up", href: this.link(block) }, `${this.lens.route}, block ${block}`);
    const title = h("h1", { tabindex: -1 }, "neuron ", h("b", {}, String(number)));
    if (!rows) return [title, h("p", { class: "lead" }, "There is no such neuron. ", up)];
    const data = rows[number % size];
    const facts = [
      ["of the variance of its largest effects is explained by its direction", data.explained[0] === null ? "–" : PureLens.percent(data.explained[0])],
      ["by the second component", data.explained[1] === null ? "–" : PureLens.percent(data.explained[1])],
      ["cosine similarity of words and direction", PureLens.number(data.cosine_similarity, 2)], ["effects above this are significant", PureLens.number(data.threshold)],
    ];
    const step = (to, text, label) => h("a", { class: "step", "aria-label": label, href: to === null ? null : this.link(block, "neuron", to), "aria-disabled": to === null ? "true" : null }, text);
    const clusters = data.clusters.map((cluster, i) => h("section", { class: `card virtual c${i % 8}` },
      h("h2", {}, h("b", {}, `${number}.${i + 1}`), h("small", {}, ` ${cluster.n} effects, ${cluster.explained === null ? "–" : PureLens.percent(cluster.explained)} explained by their own direction`)),
      h("p", {}, this.words(cluster.words)), h("div", { class: "pictures" }, cluster.images.map((image) => this.picture(image)))));
    return [
      h("div", { class: "title" }, step(number ? number - 1 : null, "‹", "previous"), title, step(number + 1 < explained.length ? number + 1 : null, "›", "next"), up,
        h("ul", { class: "numbers" }, facts.map(([name, value]) => h("li", {}, h("b", {}, value), ` ${name}`)))),
      h("section", { class: "card" }, h("h2", {}, "Its direction in words"), h("p", {}, data.words.length ? this.words(data.words) : "There are none.")),
      ...(clusters.length ? [h("p", { class: "lead" }, `One direction explains too little: its effects were clustered into ${clusters.length} directions.`), h("div", { class: "columns", style: { "--columns": clusters.length } }, clusters)] : []),
      h("section", { class: "card" }, h("h2", {}, "Images with its largest effects"), h("div", { class: "pictures" }, data.images.map(([image, length, projection]) =>
        h("figure", {}, this.picture(image), h("figcaption", {}, `length ${PureLens.number(length, 2)}, projection ${PureLens.number(projection, 2)}`))))),
    ];
  },

  async image(number) {
    const { h } = PureLens, size = this.data.images_per_file;
    const rows = number < this.data.n_images ? await PureLens.load(`${this.lens.key}/images/${Math.floor(number / size)}`) : null;
    const up = h("a", { class: "up", href: this.link() }, this.lens.route), title = h("h1", { tabindex: -1 }, "image ", h("b", {}, String(number)));
    if (!rows) return [title, h("p", { class: "lead" }, "There is no such image. ", up)];
    const data = rows[number % size], [height, width] = data.side;
    const canvas = PureLens.heatmap(data.heat, width, height);
    const heat = h("input", { type: "checkbox", checked: true, onchange: (event) => { canvas.hidden = !event.target.checked; } });
    const name = (place) => (place >= 0 ? h("bdi", {}, this.data.classes[place]) : "none");
    return [
      h("div", { class: "title" }, title, up),
      h("div", { class: "below" },
        h("section", { class: "card" }, h("div", { class: "image" }, h("img", { src: PureLens.url(`${this.lens.key}/pictures/${number}.jpg`), alt: "" }), canvas),
          h("p", {}, h("bdi", {}, data.path)), h("p", {}, "class: ", name(data.label), "; predicted: ", name(data.class)),
          data.class >= 0 ? h("p", {}, h("label", {}, heat, " where the neurons nearest to that class are active")) : ""),
        h("section", { class: "card" }, h("h2", {}, "Its concepts"),
          h("p", { class: "note" }, `${data.n_active} neurons have a significant effect on it.`),
          data.words.length ? h("p", {}, this.words(data.words)) : h("p", {}, "None of its active neurons has words."),
          h("h3", {}, "neurons with the largest projections of their effects on their directions"),
          h("ul", {}, data.neurons.map(([block, neuron, projection]) => h("li", {},
            h("a", { href: this.link(block, "neuron", neuron) }, `block ${block}, neuron ${neuron}`), ` ${PureLens.number(projection, 2)} `,
            this.words((this.data.blocks.find((facts) => facts.block === block) || { words: [] }).words[neuron] || [])))))),
    ];
  },
};
