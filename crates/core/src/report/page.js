"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const charts = [];

  // An interval around each point: a filled band beside a line, an error bar elsewhere.
  const interval = (series, color) => {
    const rows = series.data;
    const draw = series.band
      ? (params, api) => {
          if (params.context.done) return;
          params.context.done = true;
          const whole = rows.filter((r) => r.every((v) => v !== null));
          const high = whole.map((r) => api.coord([r[0], r[2]]));
          const low = whole.map((r) => api.coord([r[0], r[1]])).reverse();
          return { type: "polygon", shape: { points: high.concat(low) }, style: { fill: color, opacity: 0.16 }, silent: true };
        }
      : (params, api) => {
          const [x, top] = api.coord([api.value(0), api.value(2)]);
          const bottom = api.coord([api.value(0), api.value(1)])[1];
          const stroke = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: color, lineWidth: 1.5 } });
          return { type: "group", children: [stroke(x, top, x, bottom), stroke(x - 4, top, x + 4, top), stroke(x - 4, bottom, x + 4, bottom)] };
        };
    return { type: "custom", name: series.name, data: rows, renderItem: draw, encode: { x: 0, y: [1, 2] }, color, tooltip: { show: false }, z: 1 };
  };

  // Okabe and Ito's colours, which the colour-blind tell apart, as light or dark as the page needs them; then more, told apart by
  // marks and dashes.
  const palette = () => (dark.matches
    ? ["#56b4e9", "#e69f00", "#2cc796", "#f0734a", "#d98cbb", "#f0e442", "#8fa8ff", "#c9cfd6", "#a3cf6b", "#d9a07a", "#6cc7c2", "#b9a1e8"]
    : ["#0072b2", "#c26a00", "#00805f", "#b8401a", "#a8487f", "#7a6f00", "#3d4fc4", "#5b6776", "#4c6b00", "#8c4a2b", "#1f8782", "#6f4fb0"]);

  // Room above the grid for the rows that the legend takes at this width.
  const fit = (option, width, font) => {
    if (!option.legend.show) return;
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = `12px ${font}`;
    let rows = 1;
    let used = 0;
    for (const name of option.legend.data) {
      const needed = 25 + 5 + pen.measureText(name).width + option.legend.itemGap;
      if (used > 0 && used + needed > width - 8) {
        rows += 1;
        used = 0;
      }
      used += needed;
    }
    option.grid.top = 14 + 24 * rows;
  };

  const draw = () => {
    charts.splice(0).forEach((chart) => chart.dispose());
    const colors = palette();
    const style = getComputedStyle(document.documentElement);
    // Widths of texts are measured with it: "inherit" would measure another one.
    const fontFamily = getComputedStyle(document.body).fontFamily;
    const ink = style.getPropertyValue("--ink").trim();
    const soft = style.getPropertyValue("--soft").trim();
    document.querySelectorAll("figure.chart").forEach((figure) => {
      const option = JSON.parse(figure.querySelector("script").textContent);
      option.series = option.series.map((series) => {
        const color = colors[series.color % colors.length];
        return series.type === "custom" ? interval(series, color) : { ...series, color };
      });
      option.animation = false;
      option.textStyle = { color: ink, fontFamily };
      option.legend.textStyle = { color: ink, fontFamily };
      for (const axis of [option.xAxis, option.yAxis]) {
        axis.nameTextStyle = { color: soft };
        axis.axisLabel = { color: soft };
      }
      figure.classList.add("drawn");
      const canvas = figure.querySelector(".canvas");
      fit(option, canvas.clientWidth, fontFamily);
      const chart = echarts.init(canvas, null, { renderer: "svg" });
      chart.setOption(option);
      charts.push(chart);
    });
  };

  document.querySelectorAll(".chart details").forEach((details) => details.removeAttribute("open"));
  draw();
  dark.addEventListener("change", draw);
  addEventListener("resize", draw);
  addEventListener("beforeprint", draw);
})();
