#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tickets.jsonl: invented support tickets over eleven queues, the same bytes for the same seed.

How a ticket is made: a queue is drawn (queues are of very different sizes), then an opening, one to three clauses
about the problem, a detail, a request and a closing are drawn from phrase banks, slots are filled, and typing
accidents are added. The sequence of phrases before slots are filled is the ticket's wording. Every wording is used
once, so no split of the rows can have the same wording on both sides: a model that remembers templates gains nothing.

What makes it hard, as real queues are: some tickets mention two problems and were filed under either, some say
almost nothing, two per cent were filed wrongly, three queues are rare, and one ticket in twelve is in German,
French or Spanish.
"""
import argparse
import json
import os
import random

# weight, problem clauses, details, requests
EN = {
    "billing": (17, [
        "I was charged twice for {item}", "my card shows a payment of {money} that I don't recognise",
        "the invoice for {month} has the wrong VAT number", "the amount on invoice {ref} is higher than what we agreed",
        "you billed us for {n} seats but we only have {m}", "the discount code was not applied to my last bill",
        "I still have not received the invoice for {month}", "the direct debit for {money} came out a week early",
        "my payment was declined although there is enough money on the account",
        "we were invoiced in dollars instead of euros", "the yearly plan was charged as if it were monthly",
        "a fee called service surcharge appeared on my statement", "our purchase order number is missing from the bill",
        "the price went up without any notice"],
        ["the bank says the transaction is final", "it happened the month before as well",
         "accounting needs this before closing the quarter", "the total should have been {money}",
         "I have attached the statement", "the reference is {ref}"],
        ["please send a corrected invoice", "can you refund the difference", "please explain this charge",
         "could someone from finance look at it", "I want the extra amount credited"]),
    "account_access": (15, [
        "I can't log in since {day}", "the password reset mail never arrives", "my account is locked after three attempts",
        "the two factor code is rejected every time", "I lost the phone with my authenticator app",
        "single sign-on sends me back to the login page in a loop", "it says my user does not exist",
        "the verification link has expired before I could click it", "my colleague left and nobody else is administrator",
        "I changed my e-mail address and now I'm locked out", "the captcha never ends when I sign in",
        "our new employee has no permission to open the dashboard", "the security question is not mine"],
        ["I tried another browser and a private window", "I checked the spam folder", "others in my team can sign in fine",
         "the user name is {user}", "it worked until the update on {day}", "I have a deadline today"],
        ["please unlock my account", "can you reset my access", "please give me the right role",
         "could you send a new link", "I need to get back in as soon as possible"]),
    "shipping": (13, [
        "my order {ref} has not arrived", "the tracking page has not changed since {day}",
        "the parcel was delivered to the wrong address", "the courier says nobody was at home but I was",
        "half of the boxes are missing from the delivery", "the package has been stuck in customs for {n} days",
        "the estimated arrival moved for the third time", "the driver left {item} out in the rain",
        "it shows as delivered but there is nothing here", "you shipped to our old office again",
        "I paid for express and it is still in the warehouse", "the depot can't find my parcel"],
        ["the tracking number is {ref}", "I waited at home the whole day", "the carrier told me to contact you",
         "it was a birthday present", "we need it for an event on {day}"],
        ["where is it now", "please find out what happened", "can you send it again", "please change the drop-off point",
         "when will it get here"]),
    "returns": (10, [
        "I would like to send back {item}", "{item} arrived broken", "the size is wrong and I want to exchange it",
        "I returned {item} {n} days ago and have no money back", "the return label does not print",
        "you sent me {item} instead of what I bought", "the box had been opened before it reached me",
        "the warranty repair came back with the same fault", "the colour is nothing like the photo",
        "the refund for the returned goods is too low", "the pick-up for the return never came"],
        ["I still have the receipt", "the order was {ref}", "it was never used", "the hotline promised me a label",
         "there is a crack along the side"],
        ["how do I return it", "please replace it", "please arrange a collection", "I want my money back for it",
         "can I swap it in a shop"]),
    "technical_issue": (16, [
        "the app crashes when I open {feature}", "{feature} shows a blank page", "I get error {code} when I save",
        "the export to CSV stops at {n} rows", "everything has been very slow since {day}",
        "the sync between phone and desktop loses changes", "search returns nothing for words that are clearly there",
        "uploading a file over {n} MB fails", "notifications arrive hours late", "the latest version freezes on start",
        "the date in {feature} is off by one day", "the API answers with {code} on every second call",
        "printing from {feature} cuts off the right side", "the page logs me out while I am typing a report"],
        ["I reinstalled it twice", "I am on version {n}.{m}", "it happens on all our machines", "a screenshot is attached",
         "the log says {code}", "clearing the cache did not help"],
        ["please fix this", "is there a workaround", "when will this be repaired", "can an engineer have a look",
         "let me know if you need logs"]),
    "network": (9, [
        "the VPN drops every {n} minutes", "no internet in meeting room {n}", "the wifi on the {m}th floor is unusable",
        "I can't reach the file server from home", "DNS does not resolve our intranet any more",
        "the line at the {city} branch is down", "video calls break up all the time", "the firewall blocks {feature}",
        "the new switch shows no link on port {n}", "remote desktop says the host is unreachable",
        "the connection is slow after noon", "the guest network asks for a voucher that nobody has"],
        ["a speed test shows {m} Mbit", "the cable was replaced", "the provider sees no fault", "only laptops are affected",
         "other floors work"],
        ["please check the access point", "can you restart the router", "please open the port",
         "could a technician come by", "please look into the connection"]),
    "hardware": (9, [
        "my laptop does not turn on", "the screen flickers when I move the lid", "the printer on floor {m} jams on every page",
        "the battery lasts {n} minutes", "my keyboard types the wrong letters", "the docking station does not charge",
        "the headset has sound on one side only", "the scanner leaves a black line", "my mouse stops moving",
        "the fan is extremely loud", "the projector in room {n} has no picture", "a key came off"],
        ["the serial number is {ref}", "it fell off the desk", "it is {m} years old", "a colleague's works on the same desk",
         "I tried another cable"],
        ["I need a replacement", "please send someone", "can I get a loan device", "please order a new one",
         "where do I bring it"]),
    "cancellation": (6, [
        "I want to cancel my subscription", "please close our account at the end of {month}",
        "do not renew the contract", "we are moving to another provider", "I no longer need the {plan} plan",
        "I tried to end the trial but there is no button", "you renewed although I gave notice",
        "my company has shut down", "please stop the membership of my late father"],
        ["the contract number is {ref}", "the notice period was kept", "I am told it must be in writing",
         "the service is fine, we just don't use it"],
        ["please confirm the cancellation", "tell me the last day of service", "please end it now",
         "what else do you need from me"]),
    "feature_request": (3, [
        "it would be great to have dark mode", "could you add an export to {plan} format",
        "I miss a way to filter {feature} by date", "please support keyboard shortcuts in {feature}",
        "an integration with our calendar would help", "we would love bulk editing", "is a Linux client planned",
        "please let us rename columns"],
        ["competitors have this", "our whole team asks for it", "it would save us {n} hours a week"],
        ["is this on the roadmap", "please consider it", "we would happily test a beta", "who decides about it"]),
    "data_privacy": (2, [
        "please delete all personal data you hold about me", "I request a copy of my data under GDPR",
        "a stranger received my contract by mail", "I object to the use of my address for advertising",
        "our auditor needs the processing agreement", "someone else's documents are in my profile",
        "I withdraw my consent to the newsletter and profiling"],
        ["I expect an answer within thirty days", "the former customer number is {ref}",
         "our data protection officer is in copy"],
        ["please confirm in writing", "tell me what is stored", "please forward this to the privacy team",
         "name the legal basis"]),
    "partnership": (1, [
        "we would like to resell your product in {city}", "I write for a magazine and have questions for your founder",
        "our conference is looking for sponsors", "can we become an integration partner",
        "we train consultants and want to offer a course on {feature}", "I would like to propose an affiliate deal"],
        ["we have {n} customers", "our readers are in {city}", "the event is in {month}"],
        ["whom should I talk to", "could we have a call", "please pass this to the right person"]),
}
OPENINGS = ["", "", "", "Hi,", "Hello,", "Hi team,", "Good morning,", "Dear support,", "Hey,", "Hello there,", "To whom it may concern,",
            "Hi again,", "URGENT:", "Sorry to bother you, but", "This is the second time I write:", "Quick question:"]
CLOSINGS = ["", "", "", "Thanks", "Thank you in advance.", "Best regards, {name}", "Regards {name}", "Kind regards", "{name}",
            "I am really disappointed.", "Cheers, {name}", "Sent from my phone", "Waiting for your answer.", "asap please"]
JOINS = [". ", ". ", ", ", " and ", "; ", " - ", "... "]
CONTEXTS = ["I have been a customer for {m} years", "I already called twice", "nobody answered the chat", "I asked my colleague first",
            "I don't know if this is the right place", "we are a small company in {city}", "this started on {day}",
            "I am writing on behalf of {name}", "the help page was no use", "it may be something simple"]
VAGUE = ["it does not work", "same problem as last time", "please call me back", "I need help with my order", "something is wrong with my account",
         "what happened to my request {ref}", "still waiting", "see attachment", "nothing has changed since {day}", "this is not what I paid for"]

OTHER = {
    "billing": ["die Rechnung für {month} ist falsch", "mir wurde {money} doppelt abgebucht", "der Rabatt fehlt auf der Rechnung {ref}",
                "la facture de {month} est incorrecte", "j'ai été débité deux fois de {money}", "le montant ne correspond pas au devis",
                "me han cobrado dos veces", "la factura {ref} tiene un importe equivocado", "no reconozco el cargo de {money}"],
    "account_access": ["ich kann mich seit {day} nicht mehr anmelden", "mein Konto ist gesperrt", "die Mail zum Zurücksetzen kommt nicht an",
                       "je n'arrive plus à me connecter", "mon compte est bloqué depuis {day}", "le code de vérification est refusé",
                       "no puedo entrar en mi cuenta", "he olvidado la contraseña y no llega el correo", "mi usuario está bloqueado"],
    "shipping": ["das Paket {ref} ist nicht angekommen", "die Lieferung ging an die falsche Adresse", "die Sendung hängt seit {n} Tagen beim Zoll",
                 "mon colis n'est pas arrivé", "la livraison a {n} jours de retard", "le livreur n'est jamais passé",
                 "mi pedido {ref} no ha llegado", "el paquete fue entregado en otra dirección", "el seguimiento no cambia desde {day}"],
    "returns": ["ich möchte {item} zurückgeben", "die Ware kam beschädigt an", "je voudrais renvoyer {item}", "l'article est arrivé cassé",
                "quiero devolver {item}", "el producto llegó roto", "der Umtausch dauert schon {n} Tage"],
    "technical_issue": ["die App stürzt beim Öffnen von {feature} ab", "beim Speichern kommt Fehler {code}", "der Export bricht nach {n} Zeilen ab",
                        "l'application plante au démarrage", "la page {feature} reste blanche", "erreur {code} à l'enregistrement",
                        "la aplicación se cierra sola", "sale el error {code} al guardar", "la búsqueda no encuentra nada"],
    "network": ["das VPN bricht alle {n} Minuten ab", "im {m}. Stock gibt es kein WLAN", "le wifi ne marche pas au bureau", "la connexion VPN est coupée",
                "no hay internet en la sala {n}", "la red va muy lenta desde {day}"],
    "hardware": ["der Bildschirm flackert", "der Drucker im {m}. Stock hat Papierstau", "mon ordinateur ne s'allume plus", "la batterie tient {n} minutes",
                 "el teclado no funciona", "el portátil no enciende"],
    "cancellation": ["ich kündige mein Abo zum Ende {month}", "bitte verlängern Sie den Vertrag nicht", "je souhaite résilier mon abonnement",
                     "quiero cancelar mi suscripción", "deseo dar de baja el contrato {ref}"],
}
OTHER_TAIL = {"de": ["bitte um Rückmeldung", "vielen Dank", "mit freundlichen Grüßen {name}", "es ist dringend", "was kann ich tun?"],
              "fr": ["merci d'avance", "pouvez-vous vérifier ?", "cordialement {name}", "c'est urgent", "que dois-je faire ?"],
              "es": ["gracias de antemano", "¿pueden revisarlo?", "un saludo {name}", "es urgente", "¿qué puedo hacer?"]}
SLOTS = {
    "item": ["the blue backpack", "a pair of shoes", "the coffee machine", "two monitors", "the desk lamp", "a phone case", "the office chair",
             "the winter jacket", "a charger", "the board game", "the vacuum cleaner", "that camera"],
    "month": ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "yesterday", "last week", "this morning"],
    "city": ["Leeds", "Porto", "Graz", "Lyon", "Tallinn", "Bergen", "Kraków", "Valencia", "Cork", "Ghent"],
    "name": ["Ana", "Jonas", "Priya", "Tom", "Marie", "Luca", "Fatima", "Ewa", "Oskar", "Chen", "M. Keller", "J. Osei"],
    "feature": ["the calendar", "reports", "the inbox", "the dashboard", "settings", "the editor", "the mobile view", "contacts", "the archive"],
    "plan": ["Basic", "Team", "Pro", "Family", "Business"],
    "user": ["a.novak", "jdoe77", "kim_s", "m.rossi", "office-4", "t.berg"],
}


def fill(text, rng):
    def value(slot):
        if slot in SLOTS:
            return rng.choice(SLOTS[slot])
        return {"n": lambda: str(rng.randint(3, 60)), "m": lambda: str(rng.randint(2, 9)),
                "money": lambda: rng.choice(["%d.%02d EUR", "$%d.%02d", "%d,%02d €"]) % (rng.randint(4, 900), rng.randint(0, 99)),
                "ref": lambda: rng.choice(["#%d", "%d", "RF-%d", "no. %d"]) % rng.randint(10000, 999999),
                "code": lambda: rng.choice(["500", "403", "E-%d" % rng.randint(10, 99), "0x80%04x" % rng.randint(0, 65535), "timeout"])}[slot]()
    out, i = [], 0
    while i < len(text):
        if text[i] == "{":
            j = text.index("}", i)
            out.append(value(text[i + 1:j]))
            i = j + 1
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


def mistype(text, rng, rate):
    """Swaps, drops, doubles and misses letters the way hurried fingers do."""
    near = {"a": "s", "e": "r", "i": "o", "o": "p", "n": "m", "t": "r", "s": "d", "l": "k", "c": "v", "u": "i"}
    out, i = [], 0
    while i < len(text):
        c = text[i]
        if c.isalpha() and rng.random() < rate:
            kind = rng.randrange(4)
            if kind == 0 and i + 1 < len(text):
                out.append(text[i + 1])
                out.append(c)
                i += 2
                continue
            if kind == 1:
                i += 1
                continue
            out.append(c + c if kind == 2 else near.get(c, c))
        else:
            out.append(c)
        i += 1
    return "".join(out)


def english(queue, rng):
    """A wording (a tuple of phrases) of one to three clauses about the queue's kind of problem."""
    _, problems, details, requests = EN[queue]
    size = rng.random()
    if size < 0.05:
        return (rng.choice(VAGUE), rng.choice(requests if rng.random() < 0.5 else details))
    parts = [rng.choice(OPENINGS)]
    if rng.random() < 0.25:
        parts.append(rng.choice(CONTEXTS))
    parts.append(rng.choice(problems))
    if size > 0.80:
        parts.append(rng.choice([p for p in problems if p != parts[-1]]))
    if size > 0.25:
        parts.append(rng.choice(details))
    if size > 0.95:
        parts.append(rng.choice(CONTEXTS + VAGUE))
    if rng.random() < 0.7:
        parts.append(rng.choice(requests))
    parts.append(rng.choice(CLOSINGS))
    return tuple(p for p in parts if p)


def foreign(queue, rng):
    phrases = OTHER[queue]
    first = rng.choice(phrases)
    low = " " + first.lower()
    lang = "de" if any(w in low for w in (" ich", " die ", " der ", " das ", " mir ", " mein", " beim", " im ", " bitte")) else \
        "fr" if any(w in low for w in (" la facture", "j'ai", " je ", " mon ", " le ", "l'a", "erreur", " la page", " la livraison", " la connexion", " la batterie")) else "es"
    return (first, rng.choice(OTHER_TAIL[lang]), rng.choice(["", rng.choice(VAGUE + CONTEXTS)]))


def mixed(queue, other, rng):
    """Two problems in one ticket; it was filed under the first one named, mostly."""
    return (rng.choice(OPENINGS), rng.choice(EN[queue][1]), "also", rng.choice(EN[other][1]), rng.choice(EN[rng.choice([queue, other])][3]))


def style(words, rng):
    text = words[0]
    for part in words[1:]:
        if text.endswith((",", ":", "but")):
            text += " " + part
        else:
            text = text.rstrip(".") + rng.choice(JOINS) + part
    look = rng.random()
    if look < 0.18:
        text = text.lower()
    elif look < 0.21:
        text = text.upper()
    elif look < 0.60:
        text = text[:1].upper() + text[1:] + rng.choice([".", "!", "?", "", ""])
    return text


def tickets(count, seed):
    rng = random.Random(seed)
    queues = list(EN)
    weights = [EN[q][0] for q in queues]
    used, rows = set(), []
    while len(rows) < count:
        queue = rng.choices(queues, weights)[0]
        kind = rng.random()
        if kind < 0.085 and queue in OTHER:
            wording = foreign(queue, rng)
        elif kind < 0.17:
            wording = mixed(queue, rng.choices(queues, weights)[0], rng)
        else:
            wording = english(queue, rng)
        wording = tuple(p for p in wording if p)
        if wording in used:
            continue
        used.add(wording)
        label = queue
        if rng.random() < 0.02:
            label = rng.choices(queues, weights)[0]
        text = mistype(style([fill(p, rng) for p in wording], rng), rng, rng.choice([0, 0, 0, 0.01, 0.03, 0.06]))
        rows.append({"input": text, "output": label})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=20260514)
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "tickets.jsonl"))
    args = parser.parse_args()
    with open(args.out, "w", encoding="utf-8", newline="\n") as out:
        for row in tickets(args.rows, args.seed):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
