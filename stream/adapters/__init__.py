"""Devices of other makes: what they publish, in their own dialects, as our payloads.

An adapter is told every message of its topics and says what was heard. It knows nothing of cities: a *source* names a
device as its own world does (``zigbee2mqtt/kitchen smoke``), and `places.geojson` says which of our devices that is.
"""

from stream.adapters.dialect import Ask, Dialect, Heard
from stream.adapters.esphome import EspHome
from stream.adapters.homeassistant import HomeAssistant
from stream.adapters.plain import PlainJson
from stream.adapters.sparkplug import Sparkplug
from stream.adapters.tasmota import Tasmota
from stream.adapters.zigbee2mqtt import Zigbee2Mqtt

__all__ = ["Ask", "Dialect", "EspHome", "Heard", "HomeAssistant", "PlainJson", "Sparkplug", "Tasmota", "Zigbee2Mqtt"]
