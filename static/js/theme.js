// Runs before the first paint, so that a chosen theme never flashes. Everything else waits for app.js.
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* storage is switched off: the system's theme applies */ }
