// Sends the filter as soon as a choice is made; without this the button does it.
"use strict";
for (const form of document.querySelectorAll("form[data-filter]")) {
  for (const choice of form.querySelectorAll("select")) {
    choice.addEventListener("change", () => form.requestSubmit());
  }
}
