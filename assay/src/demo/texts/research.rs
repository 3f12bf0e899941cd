//! Trips to be planned by the research agent and its budget specialist.

use crate::demo::calls::Tool;

pub(crate) const SYSTEM: &str = "You are Larkspur's research agent. You plan trips from real offers. Work in steps: find out what matters, search flights, stays and weather (in parallel where possible), have the budget specialist check the total, then write a plan with prices, alternatives and what you are unsure about. Quote only prices that a tool returned.";
pub(crate) const BUDGET_SYSTEM: &str = "You check travel budgets. Convert all prices to euros, add what is easily forgotten (transfers, bags, city tax, food) and say whether the plan fits. Be conservative.";

pub(crate) static TOOLS: [Tool; 5] = [
    Tool {
        name: "search_flights",
        description: "Searches flights and returns the best offers.",
        arguments: &[
            ("from", "Airport or city"),
            ("to", "Airport or city"),
            ("date", "Day of departure"),
            ("travellers", "How many people"),
        ],
    },
    Tool {
        name: "search_stays",
        description: "Searches hotels and apartments.",
        arguments: &[("city", "City"), ("nights", "How many nights"), ("guests", "How many people")],
    },
    Tool {
        name: "get_weather",
        description: "Typical weather of a city in a month.",
        arguments: &[("city", "City"), ("month", "Month")],
    },
    Tool { name: "web_search", description: "Searches the web.", arguments: &[("query", "Search words")] },
    Tool {
        name: "ask_budget_specialist",
        description: "Has the budget specialist check a plan.",
        arguments: &[("plan", "The plan with its prices")],
    },
];
pub(crate) static BUDGET_TOOLS: [Tool; 1] = [Tool {
    name: "convert_currency",
    description: "Converts an amount into euros at today's rate.",
    arguments: &[("amount", "Amount"), ("currency", "ISO 4217 code")],
}];

pub(crate) const REQUESTS: [&str; 6] = [
    "Plan {days} days in {city} in {month} for {people} people. We like walking and good food, budget EUR {budget} without flights.",
    "I need a quiet place near {city} for {days} nights from {date}, with reliable wifi. Max EUR {budget} all in.",
    "Compare {city} and Tallinn for a long weekend in {month}: weather, costs, how to get there from Berlin.",
    "Team offsite for {people}, {days} days, somewhere like {city}. Meeting room, direct flights, EUR {budget} each.",
    "What's the cheapest way to be in {city} on {date} with two kids and a lot of luggage?",
    "We have {days} days off in {month} and want sea, trains instead of planes, and EUR {budget}. Is {city} realistic?",
];
pub(crate) const FOLLOW_UPS: [&str; 4] = [
    "Can you make it two days shorter and cheaper?",
    "What if it rains the whole time? Give me a plan B.",
    "Swap the hotel for an apartment with a kitchen.",
    "Please check the flights again, those times don't work for us.",
];
pub(crate) const THOUGHTS: [&str; 3] = [
    "Need flights, a place to stay and the weather first; these are independent, so search them together.",
    "The dates matter more than the hotel. Search flights around {date} and see what remains of EUR {budget}.",
    "Start with what limits the plan: travel for {people} to {city}, then stays.",
];
pub(crate) const QUERIES: [&str; 4] = [
    "{city} walking routes food markets {month}",
    "{city} neighbourhoods quiet family friendly",
    "{city} public transport day pass price",
    "{city} events {month} closures",
];
pub(crate) const FINDINGS: [&str; 4] = [
    "The old town is best on foot; the market opens at 7 and is at its best before 10. Day passes pay off from the third ride.",
    "Locals recommend the hill quarter for quiet nights. Several museums are closed on Mondays.",
    "In {month}, evenings are cool and rain comes in short showers. Restaurants fill up after 20:00; book ahead.",
    "The tram to the coast is closed for works until the end of {month}; a replacement bus runs every 20 minutes.",
];
pub(crate) const PLANS: [&str; 3] = [
    "Here is a plan for {days} days in {city}.\n\n**Getting there** The flight on {date} at 09:40 is the best value (EUR 148 per person, one cabin bag).\n\n**Staying** Casa do Pátio, a quiet guest house ten minutes from the centre on foot, EUR 92 a night with breakfast.\n\n**Days** Day 1: arrive, evening walk through the old town. Day 2: market before ten, then the river path. Day 3: day trip by train. The remaining days are free for museums and food.\n\n**Cost** The budget specialist comes to 86 % of your EUR {budget}, with EUR 40 a day for food and transport.\n\n**Unsure** The replacement bus to the coast; please check the timetable the day before.",
    "Short answer: yes, {city} works in {month}.\n\n- Travel: EUR 148 per person and direction is typical; leaving a day later saves about EUR 30.\n- Stay: two options within ten minutes of the centre, EUR 92 (guest house) and EUR 118 (apartment with kitchen).\n- Weather: mild, some showers. Take a rain shell.\n- Total: fits into EUR {budget} for {people} with a reserve of roughly 10 %.\n\nI would book the stay first: it is refundable until a week before.",
    "I compared what is available on {date}. The direct flight costs EUR 148; with a change it is EUR 96, but the connection is only 45 minutes, which I would not risk with luggage. For the stay I suggest the apartment near the market (EUR 118 a night, kitchen, washing machine).\n\nThe budget check says EUR {budget} is enough if you eat out once a day. What I could not verify: whether the apartment's lift works; I have asked the host.",
];
pub(crate) const BUDGET_ANSWER: &str = "The plan fits into EUR {budget}. Fixed costs are about 62 % of it; with EUR 40 per person and day for food and transport the total is 86 %. Forgotten so far: city tax (EUR 2 per night) and airport transfers (about EUR 24). Keep the rest as a reserve.";
