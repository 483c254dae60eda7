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

  const palette = () => (dark.matches
    ? ["#7db4f0", "#f0a35e", "#7ccf8a", "#e07a8b", "#b9a1e8", "#d3c068", "#6cc7c2", "#c9cfd6", "#e79ad0", "#a3cf6b", "#d9a07a", "#6fc6f5"]
    : ["#2563a8", "#c8641b", "#2f8a43", "#b3324a", "#6f4fb0", "#8c7400", "#1f8782", "#5b6776", "#c2469e", "#4c6b00", "#8c4a2b", "#0b7fc2"]);

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
      const chart = echarts.init(figure.querySelector(".canvas"), null, { renderer: "svg" });
      chart.setOption(option);
      charts.push(chart);
    });
  };

  document.querySelectorAll(".chart details").forEach((details) => details.removeAttribute("open"));
  draw();
  dark.addEventListener("change", draw);
  const resize = () => charts.forEach((chart) => chart.resize());
  addEventListener("resize", resize);
  addEventListener("beforeprint", resize);
})();
