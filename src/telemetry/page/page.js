// The page is written by the program. This only puts each newer one in the place of the older.
"use strict";

const main = document.querySelector("main");
const live = document.getElementById("live");

function say(word, isLive) {
  live.textContent = word;
  live.className = isLive ? "live" : "";
}

function listen() {
  const events = new EventSource("events");
  events.onmessage = (event) => {
    if (!document.getSelection().isCollapsed) return; // somebody copies something: it stands still
    main.innerHTML = event.data;
    document.title = document.getElementById("storms")?.dataset.title ?? "Breakwater";
    say("live", true);
  };
  events.onerror = () => {
    say("no answer, asking again", false);
    // an answer that was no stream (too many look on) is not asked for again by itself
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

listen();
