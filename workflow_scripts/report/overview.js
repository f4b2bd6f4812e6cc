"use strict";
// The charts of the first screen.
PureLens.overview = {
  judges: new Map(),

  /** Show the pictures of the examples. */
  pictures() {
    for (const element of document.querySelectorAll("[data-strip]")) {
      const url = PureLens.url(element.dataset.strip);
      if (url) element.style.backgroundImage = `url("${url}")`;
    }
  },

  /** Choose the embedding model that judges the charts of a layer. */
  switches() {
    for (const element of document.querySelectorAll("[data-judge]")) {
      const layer = PureLens.facts.layers[Number(element.dataset.judge)];
      element.addEventListener("input", () => {
        this.judges.set(layer.route, element.value);
        this.draw();
      });
    }
  },

  /** Draw all charts in the colors of the page. */
  draw() {
    if (!window.Plotly || document.getElementById("overview").hidden) return;
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    for (const element of document.querySelectorAll("[data-chart]")) {
      const layer = PureLens.facts.layers[Number(element.dataset.layer)];
      const { traces, layout } = this[element.dataset.chart](layer, color);
      const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), automargin: true };
      window.Plotly.react(element, traces, {
        margin: { l: 8, r: 8, t: 6, b: 8 }, height: 240, showlegend: false,
        paper_bgcolor: "transparent", plot_bgcolor: "transparent",
        font: { color: color("--ink"), family: style.fontFamily, size: 12 },
        hoverlabel: { bgcolor: color("--card"), font: { color: color("--ink") } },
        ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
      }, { displayModeBar: false, responsive: true });
      window.Plotly.Plots.resize(element); // the window may have been resized while another view was shown
    }
  },

  rows(layer, table, quantity) {
    const { k, embedders } = layer.facts;
    const judge = this.judges.get(layer.route) || embedders[0];
    const rows = layer.facts.summaries[table].filter(
      (row) => row.quantity === quantity && row.embedder === judge && (row.n_clusters === undefined || row.n_clusters === k)
    );
    const rank = (row) => layer.facts.methods.indexOf(row.method);
    return rows.sort((a, b) => rank(a) - rank(b));
  },

  /** Escape a name: Plotly reads some HTML in texts. */
  text(name) {
    return PureLens.methodName(name).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  },

  dots(rows, name, color, symbol) {
    return {
      type: "scatter", mode: "markers", name,
      x: rows.map((row) => row.mean), y: rows.map((row) => this.text(row.method)),
      marker: { color: color, size: 10, symbol },
      error_x: {
        type: "data", symmetric: false, color: color, thickness: 1.5,
        array: rows.map((row) => (row.high ?? row.mean) - row.mean), arrayminus: rows.map((row) => row.mean - (row.low ?? row.mean)),
      },
      hovertemplate: `%{y}<br>${name} %{x:.4g}<extra></extra>`,
    };
  },

  distances(layer, color) {
    const [inter, intra] = ["inter", "intra"].map((quantity) => this.rows(layer, "interpretability", quantity));
    return {
      traces: [
        this.dots(intra, "of the same virtual neuron", color("--c1"), "square"),
        this.dots(inter, "of different ones", color("--c0"), "circle"),
      ],
      layout: { yaxis: { autorange: "reversed" } },
    };
  },

  correlations(layer, color) {
    const rows = this.rows(layer, "alignment", "neuron");
    return {
      traces: [this.dots(rows, "Pearson's r", color("--c0"), "circle")],
      layout: { yaxis: { autorange: "reversed" }, xaxis: { rangemode: "tozero" } },
    };
  },

  gaps(layer, color) {
    const trace = {
      type: "histogram", x: layer.gap.filter((value) => value !== null), nbinsx: 40,
      marker: { color: color("--c0") }, hovertemplate: "%{y} neurons at %{x}<extra></extra>",
    };
    const title = { text: "distance between minus within virtual neurons", font: { size: 11 } };
    return { traces: [trace], layout: { xaxis: { title }, bargap: 0.05, yaxis: { title: { text: "neurons", font: { size: 11 } } } } };
  },
};
