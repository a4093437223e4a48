// Asks N times for a URL, on a connection of its own each, and prints the status of each answer: Client.java URL N

import java.net.HttpURLConnection;
import java.net.URI;

public final class Client {
    public static void main(String[] arguments) throws Exception {
        System.setProperty("http.keepAlive", "false");
        for (int i = 0; i < Integer.parseInt(arguments[1]); i++) {
            var connection = (HttpURLConnection) URI.create(arguments[0]).toURL().openConnection();
            int status = connection.getResponseCode();
            connection.getInputStream().readAllBytes();
            System.out.println(status);
        }
    }
}
