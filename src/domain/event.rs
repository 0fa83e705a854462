//! An event as it is read: a CloudEvent 1.0 whose `data` stays JSON text until a meter asks for a field.
