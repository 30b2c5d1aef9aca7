"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const settings = { displayModeBar: false, responsive: true, doubleClickDelay: 400 };

  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const inks = () => {
    const style = getComputedStyle(document.documentElement);
    return { ink: style.getPropertyValue("--ink").trim(), paper: style.getPropertyValue("--paper").trim() };
  };
  const inked = (layout) => {
    const { ink, paper } = inks();
    return { ...layout, font: { color: ink, family: getComputedStyle(document.body).fontFamily }, hoverlabel: { bgcolor: paper, bordercolor: ink, font: { color: ink } } };
  };
  const restore = (name, element) => {
    const kept = sessionStorage.getItem(name);
    if (kept === null) return;
    if (element.type === "checkbox") element.checked = kept === "true";
    else if ([...element.options].some((option) => option.value === kept)) element.value = kept;
  };
  const keep = (name, element) => sessionStorage.setItem(name, element.type === "checkbox" ? element.checked : element.value);

  if (data.live) {
    const looked = async () => {
      try {
        const answer = await fetch("stamp", { cache: "no-store" });
        if ((await answer.text()) !== data.live) location.reload();
        else byId("live").dataset.lost = "";
      } catch (error) {
        byId("live").textContent = "The page is not served any more: this is what was known last.";
      }
    };
    setInterval(looked, data.every);
  }
  if (!("DecompressionStream" in window)) {
    byId("too-old").hidden = false;
    return;
  }
  const library = document.createElement("script");
  library.textContent = await unpacked(byId("library").textContent);
  document.head.append(library);

  for (const one of data.figures) {
    const place = byId(one.id);
    await Plotly.newPlot(place, one.figure.data, inked(one.figure.layout), settings);
    place.style.minHeight = "0";
  }
  const looks = () => data.figures.forEach((one) => Plotly.relayout(byId(one.id), inked({})));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", looks);

  const controls = ["axis-x", "axis-y", "log-x", "log-y"].map(byId);
  if (controls[0]) {
    const [x, y, logX, logY] = controls;
    const label = (select) => select.selectedOptions[0].textContent;
    const redraw = () => {
      controls.forEach((element) => keep(element.id, element));
      const place = byId("figure-front");
      Plotly.update(
        place,
        { x: data.series.map((one) => one[x.value]), y: data.series.map((one) => one[y.value]) },
        {
          "xaxis.title.text": label(x), "yaxis.title.text": label(y),
          "xaxis.type": logX.checked ? "log" : "linear", "yaxis.type": logY.checked ? "log" : "linear",
          "xaxis.autorange": true, "yaxis.autorange": true,
        },
      );
      place.setAttribute("aria-label", `${data.label} Drawn: ${label(y)} over ${label(x)}.`);
    };
    controls.forEach((element) => { restore(element.id, element); element.addEventListener("change", redraw); });
    redraw();
  }
  const member = byId("member");
  if (member) {
    const show = () => {
      keep("member", member);
      const chosen = data.members[member.value];
      const place = byId("figure-widths");
      Plotly.restyle(place, { x: chosen.x, text: chosen.text });
      place.setAttribute("aria-label", chosen.label);
    };
    restore("member", member);
    member.addEventListener("change", show);
    if (member.value) show();
  }
  document.documentElement.dataset.drawn = "yes";
})();
