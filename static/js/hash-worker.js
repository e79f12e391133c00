// SHA-256 of a file, away from the page.
self.onmessage = async ({ data: { id, file } }) => {
  try {
    const sum = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    const hex = [...new Uint8Array(sum)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    self.postMessage({ id, hex });
  } catch (error) {
    self.postMessage({ id, problem: String(error) });
  }
};
