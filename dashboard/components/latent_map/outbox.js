// What was sent to the server and what it has answered: an answer to something older must not undo what was done since.

const UNANSWERED_MS = 3000;
const GIVEN_UP_MS = 10000;

class Outbox {
  constructor(hub, onSlow, onWaiting) {
    Object.assign(this, { hub, onSlow, onWaiting });
    this.session = Math.random().toString(36).slice(2, 10);
    this.sent = 0;
  }

  send(feed, commit) {
    const mount = this.hub.feeds[feed];
    if (!mount) return;
    const id = `${this.session}-${++this.sent}`;
    if (feed === "marks") {
      this.waiting = { id, since: performance.now() };
      this.onWaiting(true);
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.onSlow(true), UNANSWERED_MS);
    }
    mount.commit({ ...commit, id });
  }

  /** Whether what the server says of the selection is news: it knows of everything that was sent. */
  accepts({ received, answered }) {
    if (!this.waiting) return true;
    const { id, since } = this.waiting;
    if (received === id || answered === id) {
      clearTimeout(this.timer);
      this.onSlow(false);
    }
    const done = answered === id || performance.now() - since > GIVEN_UP_MS;
    if (done) {
      this.waiting = null;
      this.onWaiting(false);
    }
    return done;
  }

  remove() {
    clearTimeout(this.timer);
  }
}
