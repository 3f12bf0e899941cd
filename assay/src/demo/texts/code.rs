//! Work of the company's engineers with their assistant: guidelines, files, tasks.

use crate::demo::calls::Tool;

/// The guidelines that go along with every call: long, and therefore cached.
pub(crate) const SYSTEM: &str = include_str!("guidelines.md");

pub(crate) static TOOLS: [Tool; 4] = [
    Tool {
        name: "read_file",
        description: "Reads a file of the repository.",
        arguments: &[("path", "Path from the repository root")],
    },
    Tool {
        name: "grep",
        description: "Searches the repository with a regular expression.",
        arguments: &[("pattern", "Regular expression"), ("path", "Where to search")],
    },
    Tool { name: "apply_patch", description: "Applies a unified diff.", arguments: &[("patch", "Unified diff")] },
    Tool { name: "run_tests", description: "Runs tests and returns their output.", arguments: &[("filter", "Which tests")] },
];

/// A task: what is asked, the file it is about, what is thought, the patch, and the summary.
pub(crate) struct Task {
    pub(crate) asks: &'static str,
    pub(crate) pattern: &'static str,
    pub(crate) path: &'static str,
    pub(crate) file: &'static str,
    pub(crate) thought: &'static str,
    pub(crate) patch: &'static str,
    pub(crate) summary: &'static str,
}

pub(crate) static TASKS: [Task; 3] = [
    Task {
        asks: "Refund amounts are off by a cent for some bookings. Find out why and fix it, with a test.",
        pattern: "fee_percent",
        path: "services/refunds/amounts.py",
        file: "from dataclasses import dataclass\nfrom datetime import date\n\nfrom .models import Booking, FareRules\n\n\n@dataclass(frozen=True)\nclass Refund:\n    booking_id: str\n    amount: float\n    fee: float\n    currency: str = \"EUR\"\n\n\ndef fee_of(rules: FareRules, paid: float, today: date, departure: date) -> float:\n    \"\"\"The cancellation fee under the fare rules.\"\"\"\n    if not rules.refundable:\n        return paid\n    days_left = (departure - today).days\n    if days_left >= rules.free_until_days:\n        return 0.0\n    return paid * rules.fee_percent / 100\n\n\ndef refund_of(booking: Booking, today: date) -> Refund:\n    paid = sum(payment.amount for payment in booking.payments)\n    fee = fee_of(booking.rules, paid, today, booking.departure)\n    return Refund(booking.id, round(paid - fee, 2), round(fee, 2))\n",
        thought: "Amounts are floats: paid - fee and fee are rounded separately, so together they can differ from paid by a cent, and binary floats make 0.005 cases go either way. The fix is Decimal end to end, rounding the fee once and deriving the refund from it.",
        patch: "--- a/services/refunds/amounts.py\n+++ b/services/refunds/amounts.py\n@@\n-    return paid * rules.fee_percent / 100\n+    return (paid * rules.fee_percent / 100).quantize(CENT, ROUND_HALF_UP)\n@@\n-    paid = sum(payment.amount for payment in booking.payments)\n+    paid = sum((payment.amount for payment in booking.payments), Decimal(0))\n     fee = fee_of(booking.rules, paid, today, booking.departure)\n-    return Refund(booking.id, round(paid - fee, 2), round(fee, 2))\n+    return Refund(booking.id, paid - fee, fee)\n",
        summary: "The fee and the refund were rounded separately as floats, so their sum could miss the amount paid by a cent. Amounts are now `Decimal`; the fee is rounded once (half up, to the cent) and the refund is what remains. I added `test_fee_and_refund_add_up`, which fails on the old code for EUR 333.35 at 30 %.",
    },
    Task {
        asks: "Please review the retry logic in the webhook sender. Partners complain about bursts of duplicates after our deployments.",
        pattern: "backoff|retry",
        path: "services/webhooks/src/sender.ts",
        file: "import { Queue } from \"./queue\";\nimport { sign } from \"./signature\";\n\nconst MAX_ATTEMPTS = 12;\n\nexport class Sender {\n  private inFlight = new Map<string, AbortController>();\n\n  constructor(private queue: Queue, private fetchImpl = fetch) {}\n\n  async deliver(event: WebhookEvent): Promise<void> {\n    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {\n      const controller = new AbortController();\n      this.inFlight.set(event.id, controller);\n      const timer = setTimeout(() => controller.abort(), 10_000);\n      try {\n        const response = await this.fetchImpl(event.url, {\n          method: \"POST\",\n          body: event.body,\n          headers: { \"Larkspur-Signature\": sign(event) },\n          signal: controller.signal,\n        });\n        if (response.ok) {\n          await this.queue.ack(event.id);\n          return;\n        }\n      } catch (error) {\n        console.warn(\"delivery failed\", event.id, error);\n      } finally {\n        clearTimeout(timer);\n        this.inFlight.delete(event.id);\n      }\n      await sleep(1000 * 2 ** attempt);\n    }\n    await this.queue.park(event.id);\n  }\n\n  shutdown(): void {\n    for (const controller of this.inFlight.values()) controller.abort();\n  }\n}\n",
        thought: "shutdown() aborts requests that may already have been processed by the partner. The abort lands in catch, the event is not acked, and the new instance delivers it again at once: that is the burst. There is also no jitter, so all parked events retry in step. Draining with a deadline instead of aborting, plus full jitter, addresses both.",
        patch: "--- a/services/webhooks/src/sender.ts\n+++ b/services/webhooks/src/sender.ts\n@@\n-      await sleep(1000 * 2 ** attempt);\n+      await sleep(Math.random() * Math.min(1000 * 2 ** attempt, 3_600_000));\n@@\n-  shutdown(): void {\n-    for (const controller of this.inFlight.values()) controller.abort();\n+  async shutdown(graceMs = 15_000): Promise<void> {\n+    this.accepting = false;\n+    await Promise.race([this.idle(), sleep(graceMs)]);\n   }\n",
        summary: "Two causes. `shutdown()` aborted requests that partners had often already processed; they were never acked, so the next instance sent all of them again. And the backoff had no jitter, so retries came in waves. Now shutdown stops accepting, waits up to 15 s for what is in flight, and backoff is fully jittered with a cap of an hour. Delivery stays at least once.",
    },
    Task {
        asks: "The availability search got slow since we added seasonal prices. Can you see why?",
        pattern: "fn price_of",
        path: "services/search/src/pricing.rs",
        file: "use chrono::NaiveDate;\n\nuse crate::{Offer, Season, Store};\n\n/// Prices of all offers of a stay, cheapest first.\npub async fn priced(store: &Store, offers: Vec<Offer>, from: NaiveDate, nights: u32) -> Result<Vec<(Offer, Money)>, StoreError> {\n    let mut priced = Vec::new();\n    for offer in offers {\n        let mut total = Money::ZERO;\n        for night in 0..nights {\n            let day = from + chrono::Days::new(night.into());\n            let seasons: Vec<Season> = store.seasons(&offer.property_id).await?;\n            total += price_of(&offer, &seasons, day);\n        }\n        priced.push((offer, total));\n    }\n    priced.sort_by_key(|(_, total)| *total);\n    Ok(priced)\n}\n\nfn price_of(offer: &Offer, seasons: &[Season], day: NaiveDate) -> Money {\n    seasons\n        .iter()\n        .find(|season| season.from <= day && day < season.to)\n        .map_or(offer.base_price, |season| offer.base_price * season.factor)\n}\n",
        thought: "One query per offer and night: 80 offers x 7 nights is 560 round trips. Seasons depend on the property only; load them once for all properties with one query and look them up in a map.",
        patch: "--- a/services/search/src/pricing.rs\n+++ b/services/search/src/pricing.rs\n@@\n-    let mut priced = Vec::new();\n+    let properties: Vec<_> = offers.iter().map(|offer| &offer.property_id).collect();\n+    let seasons = store.seasons_of(&properties).await?;\n+    let mut priced = Vec::with_capacity(offers.len());\n@@\n-            let seasons: Vec<Season> = store.seasons(&offer.property_id).await?;\n-            total += price_of(&offer, &seasons, day);\n+            total += price_of(&offer, &seasons[&offer.property_id], day);\n",
        summary: "Seasons were queried once per offer and night: 560 round trips for a typical search. They depend on the property only, so I load them for all properties with one query and look them up. On the recorded search for Lisbon the time falls from 1.9 s to 60 ms; the prices are the same.",
    },
];

pub(crate) const FOLLOW_UPS: [&str; 4] = [
    "Looks good. Can you also add a changelog entry?",
    "Is there another place with the same mistake?",
    "Please make the test shorter.",
    "Explain the change for someone who doesn't know this service.",
];
pub(crate) const FOLLOW_UP_ANSWERS: [&str; 4] = [
    "Added to `CHANGELOG.md` under Fixed, in the words a user would look for, with the ticket number.",
    "I searched for the same pattern in the other services. There is one more in `services/invoices`, but it only affects a preview; I left it alone and noted it in the pull request.",
    "Done: the test is now table-driven with four cases, and the fixture is built by the existing helper.",
    "In one sentence: the service did the right thing for each item but not for all of them together. The change moves the decision to the one place that sees everything, and the test shows the case that went wrong.",
];
pub(crate) const TESTS_PASSED: &str =
    "collected 48 items\n\n................................................ [100%]\n48 passed in 3.91s";
pub(crate) const TESTS_FAILED: &str = "collected 48 items\n\n.......F........................................ [100%]\nFAILED test_existing_behaviour - AssertionError: expected 3 calls, found 2\n1 failed, 47 passed in 4.02s";
