//! Documentation of the partner API, and what partners ask about it.

pub(crate) const SYSTEM: &str = "You answer questions of developers about the Larkspur partner API. Use only the passages below; if they do not contain the answer, say so. Cite passages as [id].";

/// A passage: id, title, text.
pub(crate) static PASSAGES: [(&str, &str, &str); 10] = [
    (
        "rate-limits",
        "Rate limits",
        "Limits are per key and per minute: Starter 60, Growth 300, Scale 600. Search and availability share one bucket, bookings have their own. A request over the limit is answered with 429 and a Retry-After header in seconds. Limits are token buckets: short bursts of up to twice the rate are fine.",
    ),
    (
        "auth-keys",
        "Authentication",
        "Send the key as `Authorization: Bearer lk_live_...`. Keys beginning with lk_test_ work against the sandbox only. Keys can be rotated without downtime: create a second key, deploy it, delete the first. A request with a revoked key is answered with 401 and the code key_revoked.",
    ),
    (
        "webhooks",
        "Webhooks",
        "We deliver each event at least once and retry for 24 hours with exponential backoff. Verify the Larkspur-Signature header: HMAC-SHA256 of the raw body with your endpoint secret. Answer with any 2xx within 10 seconds; do the work afterwards. Use the event id to drop duplicates.",
    ),
    (
        "idempotency",
        "Idempotency",
        "POST /bookings accepts an Idempotency-Key header of up to 64 characters. The first answer is stored for 48 hours and returned for every repetition. The same key with another body is answered with 409 and the code idempotency_mismatch.",
    ),
    (
        "pagination",
        "Pagination",
        "Lists return next_cursor while there are more items. Pass it back as cursor. Cursors are opaque and live for 15 minutes. limit may be between 1 and 200, 50 if absent.",
    ),
    (
        "sandbox",
        "Sandbox",
        "The sandbox at sandbox.larkspur.example mirrors the live API with invented inventory. Card 4000 0000 0000 0002 is always declined. Clocks can be moved forward with POST /sandbox/clock to test reminders and expiry.",
    ),
    (
        "errors",
        "Errors",
        "Errors are problem+json with type, title, status, code and trace_id. Codes are stable, titles are not. Quote trace_id when you write to support.",
    ),
    (
        "availability",
        "Availability search",
        "GET /availability takes destination, from, to and guests. Results are held for 10 minutes; pass the offer_id to POST /bookings within that time. Prices include taxes and are in the currency of the account.",
    ),
    (
        "refunds",
        "Refunds",
        "POST /bookings/{id}/refunds starts a refund. Partial refunds give an amount. The state goes from requested to approved to paid; each change is sent as a webhook refund.updated. Refunds cannot be withdrawn.",
    ),
    (
        "bulk-export",
        "Bulk export",
        "POST /exports with a date starts an export of all rates and availability of that day as newline-delimited JSON. The answer has a job id; the file is ready after two to five minutes and is kept for 7 days. Exports do not count against the rate limit.",
    ),
];

/// A question, the passages that answer it (indices into [`PASSAGES`], best first) and the answer.
pub(crate) struct Question {
    pub(crate) asks: &'static [&'static str],
    pub(crate) passages: [usize; 3],
    pub(crate) answer: &'static str,
}

pub(crate) static QUESTIONS: [Question; 9] = [
    Question {
        asks: &[
            "What happens when I go over the rate limit?",
            "how many requests per minute on Growth?",
            "Do search and availability share a limit?",
        ],
        passages: [0, 9, 6],
        answer: "Requests over the limit get a 429 with `Retry-After` in seconds [rate-limits]. Growth allows 300 requests per minute and key; search and availability share that bucket, bookings have their own. For nightly jobs consider bulk export, which does not count against the limit [bulk-export].",
    },
    Question {
        asks: &[
            "How do I verify webhook signatures?",
            "Is webhook delivery exactly once?",
            "My endpoint sometimes gets the same event twice, why?",
        ],
        passages: [2, 8, 6],
        answer: "Delivery is at least once, so duplicates are expected: keep the event id and drop repeats [webhooks]. To verify an event, compute HMAC-SHA256 over the raw body with your endpoint secret and compare it with `Larkspur-Signature`. Answer with a 2xx within 10 seconds and do the work afterwards.",
    },
    Question {
        asks: &["How can I safely retry creating a booking?", "idempotency key reuse error 409"],
        passages: [3, 7, 6],
        answer: "Send an `Idempotency-Key` with POST /bookings. Repeating the request with the same key returns the stored answer for 48 hours, so nothing is booked twice. A 409 with `idempotency_mismatch` means that the key was already used with a different body [idempotency].",
    },
    Question {
        asks: &["How do I rotate an API key without downtime?", "401 key_revoked after deployment"],
        passages: [1, 6, 5],
        answer: "Create a second key, deploy it everywhere, then delete the first; both work meanwhile [auth-keys]. `key_revoked` means that a process still uses the deleted key: the `trace_id` of the error helps support to find which [errors].",
    },
    Question {
        asks: &["What is the maximum page size?", "cursor expired while paginating bookings"],
        passages: [4, 6, 9],
        answer: "`limit` may be between 1 and 200 (50 if absent). Cursors live for 15 minutes, so a slow consumer has to start over or read in smaller pages [pagination]. To read everything of a day, a bulk export is simpler [bulk-export].",
    },
    Question {
        asks: &["How do I test a declined card?", "Can I move time forward in the sandbox?"],
        passages: [5, 1, 7],
        answer: "In the sandbox, card 4000 0000 0000 0002 is always declined, and POST /sandbox/clock moves the clock forward so that reminders and expiry can be tested [sandbox]. Remember to use an `lk_test_` key [auth-keys].",
    },
    Question {
        asks: &["How long is an offer valid?", "offer_expired when booking right after search"],
        passages: [7, 3, 6],
        answer: "An offer is held for 10 minutes after GET /availability; pass its `offer_id` to POST /bookings within that time [availability]. After that, search again: prices may have changed.",
    },
    Question {
        asks: &["Can a refund be cancelled?", "How do I know when a refund has been paid?"],
        passages: [8, 2, 6],
        answer: "A refund goes from requested to approved to paid, and each change arrives as the webhook `refund.updated` [refunds]. It cannot be withdrawn once it has been requested.",
    },
    Question {
        asks: &["Do you support GraphQL?", "Is there an official Go SDK?"],
        passages: [6, 1, 4],
        answer: "The passages I have do not mention that. They describe a REST API with bearer keys [auth-keys]; please ask partner support whether anything else is planned.",
    },
];
