// Sending an archive: the same form, with the share that has arrived. Without JavaScript the form works as it is.
import { $, toast, word } from "./kit.js";

const form = $("#import");

form?.addEventListener("submit", (event) => {
  if (!$("input[type=file]", form).files.length) return;
  event.preventDefault();
  const button = $("button", form);
  const place = $("[data-progress]", form);
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    const share = Math.round((100 * loaded) / total);
    $("progress", place).value = share;
    $("[role=status]", place).textContent = form.dataset.sending.replace("{share}", `${share} %`);
  });
  request.addEventListener("load", () => {
    removeEventListener("beforeunload", stay);
    // The answer is the page itself: after the redirect, or with what is wrong with the archive.
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    if (request.status < 300) return void location.assign(request.responseURL);
    const answered = $("#import", page);
    if (!answered) return fail();
    $(".error", form)?.remove();
    const error = $(".error, .note.bad", answered);
    if (error) $("input[type=file]", form).closest(".field").append(document.importNode(error, true));
    over();
  });
  request.addEventListener("error", fail);
  button.disabled = true;
  place.hidden = false;
  addEventListener("beforeunload", stay);
  request.send(new FormData(form));

  function over() {
    button.disabled = false;
    place.hidden = true;
  }
  function fail() {
    removeEventListener("beforeunload", stay);
    toast(word("offline"), { bad: true });
    over();
  }
});

const stay = (event) => event.preventDefault();
