//! Reviews and tickets to be sorted.

pub(crate) const SYSTEM: &str = "Classify the customer's message for routing. Answer with JSON only: {\"category\": one of refund, delivery, account, api, praise, safety, other; \"sentiment\": -1.0 to 1.0; \"urgent\": true or false; \"language\": ISO 639-1}.";

/// A message with its right label: text, category, sentiment, urgent, language.
pub(crate) static TICKETS: [(&str, &str, f64, bool, &str); 16] = [
    ("Still no refund for {booking} after three weeks. I will dispute the charge with my bank.", "refund", -0.8, true, "en"),
    ("The guide in {city} was wonderful, please pass on our thanks!", "praise", 0.9, false, "en"),
    ("My {item} arrived with a broken zip. Order {order}.", "delivery", -0.5, false, "en"),
    ("Wo bleibt meine Bestellung {order}? Sollte am {date} da sein.", "delivery", -0.4, false, "de"),
    ("I can't log in since the update, the reset link does nothing.", "account", -0.3, true, "en"),
    ("Availability returns 500 for {city} since 09:40 UTC, our checkout is down.", "api", -0.7, true, "en"),
    ("Could you add an invoice with VAT number for {booking}?", "account", 0.0, false, "en"),
    ("L'hôtel à {city} n'avait pas notre réservation {booking}. Nous sommes à la rue.", "safety", -0.9, true, "fr"),
    ("Everything perfect, third time we book with you.", "praise", 0.95, false, "en"),
    ("The transfer driver in {city} was on his phone the whole way. Not OK with kids in the car.", "safety", -0.8, true, "en"),
    ("Please delete my account and all data you hold about me.", "account", -0.1, false, "en"),
    ("¿Puedo cambiar la fecha de {booking} al {late}?", "other", 0.1, false, "es"),
    ("Charged twice: EUR {total} on {date} and again the day after.", "refund", -0.6, true, "en"),
    ("Is there a sandbox key for the partner API? Docs mention one but the portal does not.", "api", 0.0, false, "en"),
    ("Package says delivered, nobody rang, nothing here. {order}", "delivery", -0.6, false, "en"),
    ("Just wanted to say the new app is so much faster.", "praise", 0.8, false, "en"),
];
