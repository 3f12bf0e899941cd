//! Properties of the engine that no capture shows.
