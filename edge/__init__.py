"""One agent per Raspberry Pi: cameras and sensors in, MQTT out."""
