"use strict";
document.documentElement.classList.add("scripted");
for (const input of document.querySelectorAll('input[name="all-layers"]')) {
  input.addEventListener("change", () => {
    for (const pick of document.querySelectorAll(`.pick[value="${input.value}"]`)) pick.checked = true;
  });
}
const strength = document.getElementById("strength");
if (strength) {
  strength.addEventListener("input", () => {
    document.documentElement.style.setProperty("--strength", strength.value / 100);
  });
}
