"""What Foretide publishes as metrics: named once, sent anywhere."""
