//! Conversations with customers.

use crate::demo::calls::Tool;

pub(crate) const SYSTEM_V6: &str = "You are the support assistant of Larkspur Travel. Answer questions about bookings, refunds, gear orders, the loyalty programme and the partner API. Look facts up with the tools before you state them, never guess amounts or dates. Be brief and friendly. If you cannot solve it, offer to hand over to a colleague.";
pub(crate) const SYSTEM_V7: &str = "You are the support assistant of Larkspur Travel.\n\n# Task\nAnswer questions about bookings, refunds, gear orders, the loyalty programme and the partner API.\n\n# Rules\n- Look facts up with the tools before you state them. Never guess amounts, dates or policies.\n- Say first what will happen, then why, then what the customer has to do (often: nothing).\n- One question at a time. No more than 120 words.\n- Refunds above EUR 1,000, complaints about safety and anything legal: hand over to a colleague with `hand_over`.\n- Never ask for card numbers or passwords.\n\n# Tone\nWarm, plain, specific. Apologise once, when it was our fault.";

pub(crate) static TOOLS: [Tool; 4] = [
    Tool {
        name: "get_booking",
        description: "Reads a booking: itinerary, fare rules, payments and current status.",
        arguments: &[("booking_id", "Booking reference, such as LK-204113")],
    },
    Tool {
        name: "track_order",
        description: "Tracks a gear order: carrier, last scan and expected delivery.",
        arguments: &[("order_id", "Order number, such as G1200045")],
    },
    Tool {
        name: "search_help_center",
        description: "Searches the help centre and returns the best passages.",
        arguments: &[("query", "What to look for, in a few words")],
    },
    Tool {
        name: "create_refund",
        description: "Requests a refund for a booking or an order.",
        arguments: &[("reference", "Booking or order"), ("amount_eur", "Amount in euros"), ("reason", "Why")],
    },
];

/// One exchange: what the customer says, what is looked up, what the assistant answers.
pub(crate) struct Turn {
    pub(crate) says: &'static [&'static str],
    /// Index into [`TOOLS`], arguments and result as JSON.
    pub(crate) tool: Option<(usize, &'static str, &'static str)>,
    pub(crate) answers: &'static [&'static str],
}

/// A subject that customers write about.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) turns: &'static [Turn],
}

pub(crate) static TOPICS: [Topic; 6] = [
    Topic {
        name: "refund-policy",
        turns: &[
            Turn {
                says: &[
                    "Hi, I had to cancel my trip to {city} on {date} (booking {booking}). How much do I get back?",
                    "My daughter is ill and we can't fly to {city} on {date} any more. Is {booking} refundable?",
                    "cancelled {booking} yesterday, when do I see my money?",
                ],
                tool: Some((
                    0,
                    r#"{"booking_id":"{booking}"}"#,
                    r#"{"booking_id":"{booking}","destination":"{city}","departure":"{date}","status":"cancelled","paid_eur":"{total}","fare":{"class":"Flex Light","refundable":true,"fee_percent":30}}"#,
                )),
                answers: &[
                    "You get EUR {part} back. Your fare for {city} is Flex Light: it can be cancelled until the day before departure for a fee of 30 % of EUR {total}. Shall I request the refund to your original payment method?",
                    "I'm sorry the trip to {city} didn't work out. Booking {booking} is refundable: of the EUR {total} you paid, EUR {part} comes back to you; 30 % is kept by the airline under the Flex Light fare. Would you like me to start the refund?",
                ],
            },
            Turn {
                says: &["Yes please, back to my card.", "OK, go ahead.", "Fine, but that fee is steep. Please start it."],
                tool: Some((
                    3,
                    r#"{"reference":"{booking}","amount_eur":"{part}","reason":"customer cancelled, Flex Light"}"#,
                    r#"{"refund_id":"RF-{booking}","amount_eur":"{part}","method":"original_card","state":"requested","expected_days":"5-7"}"#,
                )),
                answers: &[
                    "Done. The refund of EUR {part} for {booking} is on its way to your card and usually arrives within 5 to 7 working days. You will get an e-mail when the bank confirms it.",
                    "I have requested EUR {part} to the card you paid with (reference RF-{booking}). Banks take 5 to 7 working days; there is nothing else you need to do.",
                ],
            },
            Turn {
                says: &["Does my travel insurance cover the rest?", "And the seat reservation I paid for?"],
                tool: Some((
                    2,
                    r#"{"query":"insurance cancellation fee illness"}"#,
                    r#"{"passages":[{"id":"help-118","text":"TravelCare covers cancellation fees in case of illness with a doctor's note, up to EUR 1,500 per person."},{"id":"help-121","text":"Seat reservations and bags are refunded with the fare they belong to."}]}"#,
                )),
                answers: &[
                    "If you booked TravelCare, yes: it covers cancellation fees in case of illness with a doctor's note, up to EUR 1,500 per person. Seat reservations are refunded with the fare. You can upload the note under Trips > {booking} > Insurance.",
                ],
            },
        ],
    },
    Topic {
        name: "shipment-delay",
        turns: &[
            Turn {
                says: &[
                    "Where is my {item}? Order {order} should have been here on {date}.",
                    "Order {order} has been 'in transit' for days and I leave for {city} soon.",
                ],
                tool: Some((
                    1,
                    r#"{"order_id":"{order}"}"#,
                    r#"{"order_id":"{order}","item":"{item}","carrier":"DHL","last_scan":{"place":"Leipzig hub","event":"held, missed connection"},"promised":"{date}","expected":"{late}"}"#,
                )),
                answers: &[
                    "Your {item} missed a connection at the Leipzig hub and is now expected on {late}, a day after the promised date. Sorry about that. If that is too late for {city}, I can send it to a pick-up point near you instead; would that help?",
                    "The parcel was held in Leipzig. DHL now expects to deliver your {item} on {late}. I have refunded the shipping fee. Shall I keep you posted by text message?",
                ],
            },
            Turn {
                says: &["What if it doesn't come on {late} either?", "I fly before that. Can I cancel it?"],
                tool: None,
                answers: &[
                    "Then you can simply refuse the parcel or return it unopened: you get the full EUR {total} back and we pay the return. If you tell me now, I can also stop the delivery and refund you today.",
                    "Yes. I can recall the parcel now; the EUR {total} is refunded as soon as it turns around, normally within two days.",
                ],
            },
        ],
    },
    Topic {
        name: "api-limits",
        turns: &[
            Turn {
                says: &[
                    "We get 429s from the availability endpoint since this morning. Our plan says {limit} requests per minute.",
                    "What is the rate limit of the partner API on the Growth plan? Our nightly sync keeps failing.",
                ],
                tool: Some((
                    2,
                    r#"{"query":"partner api rate limit availability 429"}"#,
                    r#"{"passages":[{"id":"rate-limits","text":"Limits are per key and per minute: Starter 60, Growth 300, Scale 600. Search and availability share one bucket. A 429 carries Retry-After in seconds."}]}"#,
                )),
                answers: &[
                    "Availability and search share one bucket of {limit} requests per minute and key, so a search-heavy job can use up what availability needs. Each 429 carries a `Retry-After` header in seconds; waiting that long is enough. For a nightly sync, the bulk export is kinder: one request returns a whole day.",
                    "The limit counts per API key and minute, and search and availability share it. Please honour `Retry-After`, spread the sync over a few minutes, or use a second key for the batch job.",
                ],
            },
            Turn {
                says: &["Can you raise it for us just this week?", "How do I get a second key?"],
                tool: None,
                answers: &[
                    "You can create a second key yourself: Partner portal > Keys > New key; it gets its own bucket. For a temporary increase I can open a ticket with the partner team, who usually answer within one working day. Shall I?",
                ],
            },
        ],
    },
    Topic {
        name: "name-change",
        turns: &[
            Turn {
                says: &[
                    "There is a typo in my name on {booking}: it says {name}e instead of {name}. Does that matter?",
                    "I married last month, can I change the name on {booking} before {date}?",
                ],
                tool: Some((
                    0,
                    r#"{"booking_id":"{booking}"}"#,
                    r#"{"booking_id":"{booking}","destination":"{city}","departure":"{date}","status":"ticketed","carrier":"TAP","name_rules":{"typos":"free, up to 3 letters","legal_change":"free with document"}}"#,
                )),
                answers: &[
                    "It does matter at check-in, but it is easy to fix: the airline corrects up to three letters for free. I can change the name on {booking} to match your passport. How exactly is it written there?",
                    "Yes, and it costs nothing: upload the certificate under Trips > {booking} > Travellers at least 48 hours before {date}, and we reissue the ticket to {city} in your new name.",
                ],
            },
            Turn {
                says: &["It's {name}, just like in my passport.", "Uploaded. Anything else?"],
                tool: None,
                answers: &[
                    "Thank you, {name}. The ticket to {city} has been sent for reissue; you will receive the new one by e-mail within two hours. The old boarding pass no longer works after that.",
                ],
            },
        ],
    },
    Topic {
        name: "loyalty-points",
        turns: &[
            Turn {
                says: &[
                    "Why did I get no Petals for my stay in {city}?",
                    "How many points do I need for a free night in {city} in {month}?",
                ],
                tool: Some((
                    2,
                    r#"{"query":"petals points credit stay free night"}"#,
                    r#"{"passages":[{"id":"help-204","text":"Petals are credited 10 days after check-out, 5 per euro, for stays booked with Larkspur directly."},{"id":"help-209","text":"A free night costs 12,000 Petals in category A and 20,000 in category B."}]}"#,
                )),
                answers: &[
                    "Petals are credited ten days after check-out, five per euro, so the ones for {city} are probably still on their way. If they are missing after that, send me the booking reference and I'll add them.",
                    "Most hotels in {city} are category A in {month}: a free night costs 12,000 Petals. You collect five Petals per euro on stays you book with us directly.",
                ],
            },
            Turn {
                says: &["Do they expire?", "Can I give them to my partner?"],
                tool: None,
                answers: &[
                    "Petals stay valid as long as you travel or book once in 24 months. You can pool them with up to four people in a family account, free of charge.",
                ],
            },
        ],
    },
    Topic {
        name: "baggage",
        turns: &[
            Turn {
                says: &[
                    "Is my {item} OK as hand luggage on the flight to {city}? Booking {booking}.",
                    "How many bags are included in {booking}? We are {people} people.",
                ],
                tool: Some((
                    0,
                    r#"{"booking_id":"{booking}"}"#,
                    r#"{"booking_id":"{booking}","destination":"{city}","departure":"{date}","status":"ticketed","bags":{"cabin":"1 x 8 kg, 55 x 40 x 20 cm","hold":"0 included, EUR 38 each"}}"#,
                )),
                answers: &[
                    "Each traveller may take one cabin bag of up to 8 kg and 55 x 40 x 20 cm to {city}; hold bags are not included and cost EUR 38 each if you add them before {date}. Shall I add one?",
                    "Your fare to {city} includes one 8 kg cabin bag per person (55 x 40 x 20 cm). A hold bag is EUR 38 online and EUR 60 at the airport, so better add it now.",
                ],
            },
            Turn {
                says: &["Add one hold bag please.", "And a stroller?"],
                tool: None,
                answers: &[
                    "A stroller and a car seat travel free of charge with a child under five, on top of your bags. Just hand the stroller over at the gate.",
                    "I have added one hold bag of up to 23 kg to {booking} for EUR 38. Your updated itinerary is in your inbox.",
                ],
            },
        ],
    },
];

pub(crate) const PRAISE: [&str; 5] = [
    "Solved it in two minutes, thanks!",
    "Clear answer.",
    "",
    "Better than the phone line.",
    "Finally someone who reads the fare rules.",
];
pub(crate) const COMPLAINTS: [&str; 4] = [
    "It did not answer my question.",
    "Had to ask twice.",
    "The amount is wrong, I paid more than that.",
    "I wanted to talk to a person.",
];
